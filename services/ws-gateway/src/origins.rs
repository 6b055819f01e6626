/// Which web pages may open connections and read answers.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Lower-case patterns in which `*` stands for any text.
    patterns: Vec<String>,
}

impl Origins {
    /// Reads a comma-separated list of origins (`https://app.example`) or patterns (`https://*.example`, `*`).
    ///
    /// # Errors
    /// The entry that is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let patterns: Vec<String> =
            entries.map(|entry| entry.trim_end_matches('/').to_ascii_lowercase()).collect();
        match patterns.iter().find(|pattern| *pattern != "*" && !pattern.contains("://")) {
            Some(wrong) => Err(format!("\"{wrong}\" is not an origin such as https://app.example")),
            None => Ok(Self { patterns }),
        }
    }

    /// Whether pages of this origin are allowed.
    pub fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.patterns.iter().any(|pattern| matches(pattern, &origin))
    }

    /// Whether a request with this `Origin` (absent outside browsers) to this `Host` is allowed: pages served by this
    /// gateway itself always are.
    pub fn allow_request(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let own = origin.split_once("://").map(|(_, origin_host)| origin_host);
        self.allow(origin) || own.is_some_and(|own| host.is_some_and(|host| host.eq_ignore_ascii_case(own)))
    }
}

/// Matches `*` in the pattern with any text, the rest literally.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed_or_matched() {
        let origins =
            Origins::read("https://app.example, https://*.trade.example:8443,http://localhost:*").unwrap();
        for good in [
            "https://app.example",
            "https://a.b.trade.example:8443",
            "http://localhost:3000",
            "HTTPS://APP.example",
        ] {
            assert!(origins.allow(good), "{good}");
        }
        for bad in
            ["https://app.example.evil", "http://app.example", "https://trade.example:8443", "null", ""]
        {
            assert!(!origins.allow(bad), "{bad}");
        }
        assert!(Origins::read("*").unwrap().allow("null"));
        assert!(Origins::read("app.example").is_err());
    }

    #[test]
    fn programs_and_the_gateways_own_pages_need_no_entry() {
        let origins = Origins::read("https://app.example").unwrap();
        assert!(origins.allow_request(None, Some("gw:8080")));
        assert!(origins.allow_request(Some("http://gw:8080"), Some("gw:8080")));
        assert!(!origins.allow_request(Some("http://gw:8081"), Some("gw:8080")));
        assert!(!origins.allow_request(Some("null"), Some("gw:8080")));
    }
}
