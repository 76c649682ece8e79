path "secret/{{identity.entity.metadata.team}}/{{identity.groups.names.ops.id}}/*" {
  capabilities = ["list", "scan"]
  list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}"
  expiration = "2030-01-01T00:00:00Z"
}
