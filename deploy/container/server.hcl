# An example for the container: data in the volume, TLS from mounted files, the audit log on standard output.

storage "raft" {
  path    = "/data"
  node_id = "one"
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/config/tls.crt"
  tls_key_file  = "/config/tls.key"
}

audit "file" "stdout" {
  options {
    file_path = "stdout"
  }
}
