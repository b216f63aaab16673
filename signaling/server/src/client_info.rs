//! What a client says of itself in `/rtc` parameters, and what its User-Agent adds.

use axum::http::{HeaderMap, header};
use signaling_protocol::proto::{ClientInfo, client_info::Capability, client_info::Sdk};

use crate::query::Parameters;

/// Of `/rtc` (PROTOCOL §1.2).
pub(crate) fn from_parameters(parameters: &Parameters) -> ClientInfo {
    ClientInfo {
        sdk: sdk(parameters.get("sdk").unwrap_or_default()) as i32,
        version: parameters.text("version"),
        protocol: parameters.number("protocol"),
        client_protocol: parameters.number("client_protocol"),
        os: parameters.text("os"),
        os_version: parameters.text("os_version"),
        device_model: parameters.text("device_model"),
        browser: parameters.text("browser"),
        browser_version: parameters.text("browser_version"),
        network: parameters.text("network"),
        capabilities: capabilities(parameters.get("capabilities").unwrap_or_default()),
        ..ClientInfo::default()
    }
}

fn sdk(name: &str) -> Sdk {
    match name {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" | "react-native" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "unreal" => Sdk::Unreal,
        "esp32" => Sdk::Esp32,
        "dotnet" => Sdk::Dotnet,
        _ => Sdk::Unknown,
    }
}

/// Comma separated, with or without the enum's prefix; unknown names are ignored.
fn capabilities(names: &str) -> Vec<i32> {
    let known = names.split(',').map(|name| name.trim().to_ascii_uppercase()).filter_map(|name| {
        Capability::from_str_name(&name).or_else(|| Capability::from_str_name(&format!("CAP_{name}")))
    });
    known.map(|capability| capability as i32).collect()
}

/// Fills browser and system from the User-Agent where a JavaScript client left them out.
pub(crate) fn complete(client: &mut ClientInfo, headers: &HeaderMap) {
    let Some(agent) = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()) else { return };
    if client.sdk != Sdk::Js as i32 && client.sdk != Sdk::ReactNative as i32 {
        return;
    }
    if client.browser.is_empty()
        && let Some((name, version)) = browser(agent)
    {
        (client.browser, client.browser_version) = (name.to_owned(), version.to_owned());
    }
    if client.os.is_empty()
        && let Some(system) = system(agent)
    {
        system.clone_into(&mut client.os);
    }
}

/// The most specific product first: every engine's agent names those it descends from.
fn browser(agent: &str) -> Option<(&'static str, &str)> {
    const PRODUCTS: [(&str, &str); 6] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Version/", "Safari"),
    ];
    PRODUCTS.into_iter().find_map(|(mark, name)| {
        let (_, rest) = agent.split_once(mark)?;
        Some((name, rest.split(' ').next().unwrap_or_default()))
    })
}

fn system(agent: &str) -> Option<&'static str> {
    const SYSTEMS: [(&str, &str); 6] = [
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    SYSTEMS.into_iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_read_from_its_user_agent() {
        let chromium =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!((browser(chromium), system(chromium)), (Some(("Chrome", "156.0.0.0")), Some("Linux")));
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1";
        assert_eq!((browser(safari), system(safari)), (Some(("Safari", "18.0")), Some("iOS")));
    }

    #[test]
    fn capabilities_are_names_with_or_without_prefix() {
        assert_eq!(capabilities("CAP_PACKET_TRAILER,compression_deflate_raw,new"), [1, 2]);
    }
}
