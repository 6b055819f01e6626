use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::shared::Shared;
use crate::{FAULTS, FaultRow, FaultSpec, Lasting, Param, Scenario, SpecError};

/// The switches: `GET /faults`, `POST /faults/<name>` with parameters, `DELETE /faults/<name>`, `DELETE /faults`;
/// `GET`, `POST` and `DELETE /scenario`.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/faults", get(list).delete(clear))
        .route("/faults/{name}", post(switch_on).delete(switch_off))
        .route("/scenario", get(scenario).post(play).delete(stop_playing))
        .with_state(shared)
}

async fn scenario(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.scenario())
}

async fn play(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let played = Scenario::read(&body).map_err(|error| error.to_string());
    match played.and_then(|scenario| shared.play(scenario).map_err(|error| error.to_string())) {
        Ok(()) => Json(shared.scenario()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn stop_playing(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.stop_playing();
    scenario(State(shared)).await
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(FAULTS.iter().map(|row| shown(&shared, row)).collect())
}

async fn clear(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.heal();
    list(State(shared)).await
}

async fn switch_on(State(shared): State<Arc<Shared>>, Path(name): Path<String>, body: Bytes) -> Response {
    let params = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let params = match params {
        Ok(params) => params,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("the body is no JSON: {error}")),
    };
    match FaultSpec::named(&name, &params).and_then(|spec| shared.fault(spec, true)) {
        Ok(row) => Json(shown(&shared, row)).into_response(),
        Err(error @ SpecError::NoSuchFault(_)) => refused(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn switch_off(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let spec = FaultSpec::named(&name, &Value::Null).and_then(|spec| shared.fault(spec, false));
    match spec {
        Ok(row) => Json(shown(&shared, row)).into_response(),
        Err(error) => refused(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

fn refused(code: StatusCode, error: &str) -> Response {
    let names: Vec<&str> = FAULTS.iter().map(|row| row.name).collect();
    (code, Json(json!({ "error": error, "faults": names }))).into_response()
}

/// A fault as the list shows it: what it is, what can be chosen, and what was chosen where it is on.
fn shown(shared: &Shared, row: &FaultRow) -> Value {
    let lasting = match row.lasting {
        Lasting::Once => "once",
        Lasting::UntilSwitchedOff => "until-switched-off",
    };
    let can_choose: Map<String, Value> = Param::ALL
        .iter()
        .filter_map(|param| row.param(*param))
        .map(|param| (param.param.name().to_owned(), param.shown()))
        .collect();
    let mut shown = json!({
        "name": row.name,
        "on": false,
        "lasting": lasting,
        "effect": row.effect,
        "params": can_choose,
    });
    if let Some((chosen, left)) = shared.active_fault(row.fault) {
        shown["on"] = true.into();
        shown["chosen"] = chosen;
        shown["left_ms"] = left.and_then(|left| u64::try_from(left.as_millis()).ok()).into();
    }
    shown
}
