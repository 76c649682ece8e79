//! Who may do what, where: paths, rules, decisions and their reasons.
