use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::shared::Shared;
use crate::{FAULTS, Fault, FaultRow, FaultSet, Lasting, Venue};

/// The switches: `GET /faults`, `POST /faults/<name>`, `DELETE /faults/<name>`, `DELETE /faults`.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/faults", get(list).delete(clear))
        .route("/faults/{name}", post(switch_on).delete(switch_off))
        .with_state(shared)
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let on = shared.look(Venue::faults);
    Json(FAULTS.iter().map(|row| shown(row, on)).collect())
}

async fn clear(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let on = shared.look(Venue::faults);
    for row in FAULTS.iter().filter(|row| on.has(row.fault)) {
        shared.fault(row, false);
    }
    list(State(shared)).await
}

async fn switch_on(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    switch(&shared, &name, true)
}

async fn switch_off(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    switch(&shared, &name, false)
}

fn switch(shared: &Shared, name: &str, on: bool) -> Response {
    let Some(row) = Fault::named(name) else {
        let names: Vec<&str> = FAULTS.iter().map(|row| row.name).collect();
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "no such fault", "faults": names })))
            .into_response();
    };
    shared.fault(row, on);
    Json(shown(row, shared.look(Venue::faults))).into_response()
}

fn shown(row: &FaultRow, on: FaultSet) -> Value {
    let lasting = match row.lasting {
        Lasting::Once => "once",
        Lasting::UntilSwitchedOff => "until-switched-off",
    };
    json!({ "name": row.name, "on": on.has(row.fault), "lasting": lasting, "effect": row.effect })
}
