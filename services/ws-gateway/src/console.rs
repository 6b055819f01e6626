use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

const PAGE: &str = include_str!("../console/index.html");
const STYLE: &str = include_str!("../console/console.css");
const SCRIPTS: [(&str, &str); 6] = [
    ("console.js", include_str!("../console/console.js")),
    ("page.js", include_str!("../console/page.js")),
    ("search.js", include_str!("../console/search.js")),
    ("spark.js", include_str!("../console/spark.js")),
    ("venue-card.js", include_str!("../console/venue-card.js")),
    ("why.js", include_str!("../console/why.js")),
];

/// The client of `clients/js` as one module, and what it loads where it needs it, as `clients/js/strip` prints them.
static CLIENT: LazyLock<String> = LazyLock::new(|| {
    stripped(&[
        include_str!("../../../clients/js/channel.js"),
        include_str!("../../../clients/js/core.js"),
        include_str!("../../../clients/js/tickcast.js"),
    ])
});
static CLIENT_HTTP: LazyLock<String> =
    LazyLock::new(|| stripped(&[include_str!("../../../clients/js/tickcast-http.js")]));
static CLIENT_BIN: LazyLock<String> =
    LazyLock::new(|| stripped(&[include_str!("../../../clients/js/tickcast-bin.js")]));

/// Modules one after the other, without their imports of each other, lines that are only comments, and indentation.
fn stripped(files: &[&str]) -> String {
    let is_left_out = |line: &str| {
        let imports = line.starts_with("import ") && line.contains(" from './");
        imports || line.is_empty() || ["//", "/**", "*/", "* "].iter().any(|begin| line.starts_with(begin))
    };
    let lines = files.iter().flat_map(|file| file.lines()).map(str::trim_start);
    lines.filter(|line| !is_left_out(line)).flat_map(|line| [line, "\n"]).collect()
}

/// The page may load its own files and open its own sockets, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`
pub fn page() -> Response {
    file("text/html; charset=utf-8", PAGE)
}

/// `/console/...`: what the page is made of.
pub async fn part(Path(name): Path<String>) -> Response {
    if name == "console.css" {
        return file("text/css; charset=utf-8", STYLE);
    }
    match SCRIPTS.iter().find(|(script, _)| *script == name) {
        Some((_, text)) => file("text/javascript; charset=utf-8", text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `/tickcast.js`, for the console page and any other.
pub async fn client() -> Response {
    file("text/javascript; charset=utf-8", &CLIENT)
}

/// `/tickcast-http.js`, which it loads where WebSocket cannot be had.
pub async fn client_http() -> Response {
    file("text/javascript; charset=utf-8", &CLIENT_HTTP)
}

/// `/tickcast-bin.js`, which it loads to read ticks in binary.
pub async fn client_bin() -> Response {
    file("text/javascript; charset=utf-8", &CLIENT_BIN)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
