/// Whose fault it is that a quote session broke, as far as the venue's words say (facts 4.3, 5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blame {
    /// One of the keys that were being asked for.
    Keys,
    /// There are too many sessions.
    Limit,
    /// Nobody's.
    Nobody,
}

impl Blame {
    /// Reads a `critical_error`: its reason, and about what it is.
    pub(crate) fn of(reason: &str, info: &str) -> Self {
        // `max sessions rate reached` and `Max state sessions reached`. The reason alone: the other may quote a key.
        let reason = reason.to_lowercase();
        if reason.contains("max ") && reason.contains("session") {
            return Self::Limit;
        }
        let names_a_method = info.contains("quote_") || info.contains("method:");
        if names_a_method && !info.contains("quote_add_symbols") { Self::Nobody } else { Self::Keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_blamed_only_where_adding_them_or_nothing_is_named() {
        let add = "method: quote_add_symbols. args: \"[qs_1, X:MAX SESSION]\"";
        for (reason, info, blame) in [
            ("invalid_parameters", "quote_add_symbols", Blame::Keys),
            ("invalid parameters", add, Blame::Keys),
            ("invalid_parameters", "", Blame::Keys),
            ("", "", Blame::Keys),
            ("invalid_parameters", "quote_set_fields", Blame::Nobody),
            ("invalid_parameters", "quote_create_session", Blame::Nobody),
            ("invalid timezone", "method: switch_timezone. args: \"[Nowhere/Nowhere]\"", Blame::Nobody),
            ("max sessions rate reached", "quote_create_session", Blame::Limit),
            ("Max state sessions reached", "", Blame::Limit),
        ] {
            assert_eq!(Blame::of(reason, info), blame, "{reason}: {info}");
        }
    }
}
