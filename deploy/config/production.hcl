# A server on one machine, with TLS, key shares and an audit log.
# Check it with: sealkeep validate -config=production.hcl

storage "raft" {
  path    = "/var/lib/sealkeep"
  node_id = "n1"
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/sealkeep/tls.pem"
  tls_key_file  = "/etc/sealkeep/tls.key"
}

audit "file" "main" {
  options {
    file_path = "/var/log/sealkeep/audit.log"
  }
}

api_addr = "https://vault.example.com:8200"
