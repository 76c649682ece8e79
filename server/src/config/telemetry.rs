use kernel::Lockout;

use super::section::Section;

/// `telemetry { … }`. Metrics are collected always and answered by `sys/metrics`; nothing is pushed elsewhere.
pub(super) fn check(section: &Section<'_>) {
    for block in section.blocks("telemetry", 0) {
        let telemetry = block.section;
        // Understood and met: Prometheus asks when it wants to, and nothing is forgotten in between.
        let _ = telemetry.span("prometheus_retention_time");
        let _ = telemetry.flag("disable_hostname");
        for key in ["unauthenticated_metrics_access", "metrics_only", "disallow_metrics"] {
            if telemetry.has(key) {
                let text = format!(
                    "\"{key}\" is said for each listener: listener \"tcp\" {{ telemetry {{ {key} = true }} }}"
                );
                telemetry.error(key, &text);
            }
        }
        let pulled = "metrics are not pushed: let Prometheus ask sys/metrics";
        telemetry.ignore(
            &[
                "statsite_address",
                "statsd_address",
                "dogstatsd_addr",
                "dogstatsd_tags",
                "circonus_api_token",
                "circonus_api_app",
                "circonus_api_url",
                "circonus_submission_interval",
                "circonus_submission_url",
                "circonus_check_id",
                "circonus_check_force_metric_activation",
                "circonus_check_instance_id",
                "circonus_check_search_tag",
                "circonus_check_display_name",
                "circonus_check_tags",
                "circonus_broker_id",
                "circonus_broker_select_tag",
                "stackdriver_project_id",
                "stackdriver_location",
                "stackdriver_namespace",
                "stackdriver_debug_logs",
            ],
            pulled,
        );
        telemetry.ignore(
            &[
                "usage_gauge_period",
                "maximum_gauge_cardinality",
                "enable_hostname_label",
                "metrics_prefix",
                "lease_metrics_epsilon",
                "num_lease_metrics_buckets",
                "add_lease_metrics_namespace_labels",
                "filter_default",
                "prefix_filter",
            ],
            "sys/metrics answers with what docs/guide/operations.md lists, counted at each question",
        );
        telemetry.close();
    }
}

/// `user_lockout "METHOD" { … }`
pub(super) fn lockouts(section: &Section<'_>) -> Vec<Lockout> {
    let mut lockouts = Vec::new();
    for block in section.blocks("user_lockout", 1) {
        let method = block.labels.first().copied().unwrap_or_default().to_ascii_lowercase();
        let stanza = block.section;
        if !["all", "userpass", "ldap", "approle"].contains(&method.as_str()) {
            stanza.error(
                "type",
                &format!("there is no lockout for \"{method}\": take all, userpass, ldap or approle"),
            );
        }
        lockouts.push(Lockout {
            method,
            threshold: stanza.count("lockout_threshold"),
            duration: stanza.span("lockout_duration"),
            counter_reset: stanza.span("lockout_counter_reset"),
            disabled: stanza.flag("disable_lockout").unwrap_or(false),
        });
        stanza.close();
    }
    lockouts
}
