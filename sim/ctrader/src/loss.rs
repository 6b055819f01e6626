/// How accounts lose their sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss<'a> {
    /// Only the sessions that came with this grant.
    pub(crate) grant: Option<usize>,
    /// 2147 is sent, with this reason.
    pub(crate) invalidated: Option<&'a str>,
    /// 2147 names no accounts.
    pub(crate) empty_list: bool,
    /// 2164 is sent.
    pub(crate) gone: bool,
    /// The session really ends.
    pub(crate) ends: bool,
}

impl Loss<'_> {
    /// As when an access token expires. What the real venue does then to sessions that came with it is not known.
    pub(crate) fn expired() -> Self {
        Self { invalidated: Some("access token has expired"), ends: true, ..Self::default() }
    }
}
