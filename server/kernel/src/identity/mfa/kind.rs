use super::record::Way;

/// The kinds of methods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::identity) enum Kind {
    /// One-time passwords.
    Totp,
    /// Duo.
    Duo,
    /// Okta.
    Okta,
    /// PingID.
    PingId,
}

impl Kind {
    /// As paths spell it.
    pub(in crate::identity) const fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Duo => "duo",
            Self::Okta => "okta",
            Self::PingId => "pingid",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Totp, Self::Duo, Self::Okta, Self::PingId].into_iter().find(|kind| kind.name() == name)
    }
}

impl Way {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Totp(_) => Kind::Totp,
            Self::Duo(_) => Kind::Duo,
            Self::Okta(_) => Kind::Okta,
            Self::PingId(_) => Kind::PingId,
        }
    }

    /// Whether a client should ask for a code.
    pub(super) fn uses_passcode(&self) -> bool {
        match self {
            Self::Totp(_) => true,
            Self::Duo(duo) => duo.use_passcode,
            Self::Okta(_) | Self::PingId(_) => false,
        }
    }
}
