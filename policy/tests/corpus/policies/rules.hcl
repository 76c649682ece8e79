# what an application may do
path "secret/data/app/*" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = { "ttl" = ["1h", 2], "*" = [] }
  denied_parameters  = { "admin" = [] }
  required_parameters = ["ttl"]
  min_wrapping_ttl = "5s"
  max_wrapping_ttl = 60
}
path "secret/metadata/+/x" { policy = "read" }
