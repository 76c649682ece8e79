# A server that unseals itself with a key that it is given by the environment, behind a proxy that ends TLS.
# Check it with: sealkeep validate -config=self-unsealing.hcl

storage "raft" {
  path    = "/var/lib/sealkeep"
  node_id = "n1"
}

seal "static" {
  current_key_id = "2026-01"
  current_key    = "env://SEALKEEP_UNSEAL_KEY"
}

listener "tcp" {
  address                          = "127.0.0.1:8200"
  tls_disable                      = true
  x_forwarded_for_authorized_addrs = ["127.0.0.1"]
  x_forwarded_for_reject_not_present = false
}

audit "file" "main" {
  options {
    file_path = "/var/log/sealkeep/audit.log"
  }
}

api_addr = "https://vault.example.com"
