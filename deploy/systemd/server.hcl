# An example for /etc/sealkeep.d/server.hcl: one node, durable, TLS, an audit file.

storage "raft" {
  path    = "/var/lib/sealkeep"
  node_id = "one"
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/sealkeep.d/tls.crt"
  tls_key_file  = "/etc/sealkeep.d/tls.key"
}

audit "file" "file" {
  options {
    file_path = "/var/log/sealkeep/audit.log"
  }
}

api_addr = "https://sealkeep.example.com:8200"
