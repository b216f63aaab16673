//! Query parameters: the first of a name counts, unknown ones are ignored.

use axum::extract::Query;
use axum::http::Uri;

/// Decoded pairs in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// An undecodable query is an empty one.
    pub(crate) fn of(uri: &Uri) -> Self {
        Query::<Vec<(String, String)>>::try_from_uri(uri).map_or_else(|_| Self::default(), |Query(pairs)| Self(pairs))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Empty when absent.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// `1` and `true`, and nothing else, are true.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).filter(|value| !value.is_empty()).map(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// 0 when absent or no number.
    pub(crate) fn number(&self, name: &str) -> i32 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/rtc?{query}").parse().unwrap())
    }

    #[test]
    fn booleans_are_one_and_true() {
        let found = parameters("a=1&b=true&c=0&d=yes&e=");
        assert_eq!(
            ["a", "b", "c", "d", "e", "f"].map(|name| found.flag(name)),
            [Some(true), Some(true), Some(false), Some(false), None, None]
        );
    }

    #[test]
    fn values_are_decoded_and_the_first_counts() {
        let found = parameters("sid=PA_%20x&sid=other&protocol=x&n=16");
        assert_eq!((found.text("sid").as_str(), found.number("protocol"), found.number("n")), ("PA_ x", 0, 16));
    }
}
