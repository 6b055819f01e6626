use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::{ServedVenue, Shared};
use crate::fault::{FaultKind, FaultRow, FaultSpec, Lasting, Param, SpecError};

/// The switches: `GET /faults`, `POST /faults/<name>` with parameters, `DELETE /faults/<name>`, `DELETE /faults`.
pub(super) fn routes<V: ServedVenue>(shared: Arc<Shared<V>>) -> Router {
    Router::new()
        .route("/faults", get(list::<V>).delete(clear::<V>))
        .route("/faults/{name}", post(switch_on::<V>).delete(switch_off::<V>))
        .with_state(shared)
}

async fn list<V: ServedVenue>(State(shared): State<Arc<Shared<V>>>) -> Json<Value> {
    Json(V::Fault::TABLE.iter().map(|row| shown(&shared, row)).collect())
}

async fn clear<V: ServedVenue>(State(shared): State<Arc<Shared<V>>>) -> Json<Value> {
    shared.heal();
    list(State(shared)).await
}

async fn switch_on<V: ServedVenue>(
    State(shared): State<Arc<Shared<V>>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let params = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let params = match params {
        Ok(params) => params,
        Err(error) => {
            return refused::<V::Fault>(StatusCode::BAD_REQUEST, &format!("the body is no JSON: {error}"));
        }
    };
    match FaultSpec::named(&name, &params).and_then(|spec| shared.fault(spec, true)) {
        Ok(row) => Json(shown(&shared, row)).into_response(),
        Err(error @ SpecError::NoSuchFault(_)) => {
            refused::<V::Fault>(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error) => refused::<V::Fault>(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn switch_off<V: ServedVenue>(
    State(shared): State<Arc<Shared<V>>>,
    Path(name): Path<String>,
) -> Response {
    let spec = FaultSpec::named(&name, &Value::Null).and_then(|spec| shared.fault(spec, false));
    match spec {
        Ok(row) => Json(shown(&shared, row)).into_response(),
        Err(error) => refused::<V::Fault>(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

fn refused<F: FaultKind>(code: StatusCode, error: &str) -> Response {
    let names: Vec<&str> = F::TABLE.iter().map(|row| row.name).collect();
    (code, Json(json!({ "error": error, "faults": names }))).into_response()
}

/// A fault as the list shows it: what it is, what can be chosen, and what was chosen where it is on.
fn shown<V: ServedVenue>(shared: &Shared<V>, row: &FaultRow<V::Fault>) -> Value {
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
