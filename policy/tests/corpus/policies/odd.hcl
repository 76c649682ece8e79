/* a heredoc */ name = "x"
path "a" { comment = <<-EOT
    capabilities = ["root"]
  EOT
  capabilities = ["deny",] // last
}
"path" "b\u00e9\x41\"" { capabilities = ["sudo"] }
