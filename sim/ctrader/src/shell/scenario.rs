//! The scenario's pages: `GET`, `POST` and `DELETE /scenario`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tracing::info;

use super::Shared;
use crate::{Scenario, SimulatedVenue as _, SpecError};

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new().route("/scenario", get(shown).post(begin).delete(stop)).with_state(shared)
}

/// Begins a scenario.
///
/// # Errors
/// [`SpecError`] where it names symbols the venue does not have.
pub(super) fn play(shared: &Shared, scenario: Scenario) -> Result<(), SpecError> {
    shared.look(|venue| scenario.specs().try_for_each(|spec| venue.check(spec)))?;
    info!(scenario = scenario.name, "scenario begins");
    shared.act(|venue, now| venue.play(now, scenario));
    Ok(())
}

async fn shown(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(under_way(&shared))
}

async fn begin(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let read = Scenario::read(&body).map_err(|error| error.to_string());
    match read.and_then(|scenario| play(&shared, scenario).map_err(|error| error.to_string())) {
        Ok(()) => Json(under_way(&shared)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn stop(State(shared): State<Arc<Shared>>) -> Json<Value> {
    info!("scenario ended");
    shared.act(|venue, _| venue.stop_playing());
    Json(under_way(&shared))
}

/// The scenario under way; null where there is none.
fn under_way(shared: &Shared) -> Value {
    let elapsed = shared.elapsed();
    shared.look(|venue| {
        let Some((scenario, faults, next)) = venue.scenario() else { return Value::Null };
        let next_in = next.map(|at| at.saturating_sub(elapsed));
        json!({
            "name": scenario.name,
            "about": scenario.about,
            "seed": scenario.seed,
            "faults": faults,
            "next_in_ms": next_in.and_then(|left| u64::try_from(left.as_millis()).ok()),
        })
    })
}
