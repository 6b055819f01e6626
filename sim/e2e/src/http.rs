use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A page that is not there after this long will not come.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for a page: status code and body.
///
/// # Errors
/// In words, where there is no answer.
pub async fn fetch(addr: SocketAddr, method: &str, path: &str) -> Result<(u16, String), String> {
    send(addr, method, path, String::new()).await
}

/// Sends a body of JSON, or nothing, to a page: status code and body of the answer.
///
/// # Errors
/// In words, where there is no answer.
pub(crate) async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: String,
) -> Result<(u16, String), String> {
    let words = |error: &dyn std::fmt::Display| format!("{method} {path}: {error}");
    let asking = async {
        let stream = TcpStream::connect(addr).await.map_err(|error| words(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| words(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", addr.to_string());
        let request = request.header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| words(&error))?.to_bytes();
        connection.abort();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(PAGE_TIMEOUT, asking).await.map_err(|_| words(&"no answer"))?
}

/// Asks for a page of JSON, whatever its status code.
///
/// # Errors
/// In words, where there is no answer or it is not JSON.
pub async fn fetch_json(addr: SocketAddr, path: &str) -> Result<Value, String> {
    let (_, body) = fetch(addr, "GET", path).await?;
    serde_json::from_str(&body).map_err(|error| format!("{path}: {error}: {body}"))
}
