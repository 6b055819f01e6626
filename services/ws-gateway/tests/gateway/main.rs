//! The gateway between a real bus and real sockets: nats-server processes on free ports, an ingest made of messages, the
//! gateway in this process, and browsers.

mod events;
mod history;
mod limits;
mod outages;
mod polling;
mod prices;
mod rates;
mod resume;
mod support;
mod tls;
mod why;
