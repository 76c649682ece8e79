//! The policies that every server has.

/// The name of the policy that may do everything. It has no text and cannot be changed or deleted.
pub const ROOT: &str = "root";
/// The name of the policy that every token gets unless told otherwise. Its text may be changed.
pub const DEFAULT: &str = "default";
/// The name of the policy that a wrapping token has and nobody else can be given.
pub const RESPONSE_WRAPPING: &str = "response-wrapping";
/// The name of the policy that the token of a control group request has and nobody else can be given.
pub const CONTROL_GROUP: &str = "control-group";

/// Names that no token, role or entity may be given by a user.
pub const UNASSIGNABLE: [&str; 2] = [RESPONSE_WRAPPING, CONTROL_GROUP];

/// The text of a built-in policy, as a new server stores it.
pub fn text(name: &str) -> Option<&'static str> {
    match name {
        ROOT => Some(""),
        DEFAULT => Some(include_str!("builtin/default.hcl")),
        RESPONSE_WRAPPING => Some(include_str!("builtin/response-wrapping.hcl")),
        CONTROL_GROUP => Some(include_str!("builtin/control-group.hcl")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn every_built_in_policy_parses() {
        for (name, rules) in [(ROOT, 0), (DEFAULT, 16), (RESPONSE_WRAPPING, 3), (CONTROL_GROUP, 3)] {
            let policy = Policy::parse(name, text(name).unwrap()).unwrap();
            assert_eq!(policy.rules().len(), rules, "{name}");
        }
        assert_eq!(text("other"), None);
    }
}
