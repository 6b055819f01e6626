use std::sync::Arc;

use prost::Message as _;
use tickcast_model::{
    AuthState, Body, Catalogue, Cause, CauseKind, ChannelEvent, DataState, Decimal, Details, Instrument,
    Lease, LinkState, Phase, Position, Price, StateChange, Symbol, SymbolState, Tick, VenueHealth, VenueId,
};

use crate::{BusError, wire};

/// The longest holder name accepted, in bytes.
const HOLDER_BYTES_MAX: usize = 128;

/// Writes a channel event for `tick.<venue>.<symbol>`.
pub fn encode_channel_event(event: &ChannelEvent) -> Vec<u8> {
    let body = match &event.body {
        Body::Tick(tick) => {
            let scale = [tick.bid, tick.ask, tick.last].into_iter().flatten().map(Price::scale).next();
            wire::channel_event::Body::Tick(wire::Tick {
                bid: tick.bid.map(Price::units),
                ask: tick.ask.map(Price::units),
                last: tick.last.map(Price::units),
                price_scale: scale.unwrap_or(0).into(),
                digits: tick.digits.into(),
                venue_time_ms: tick.venue_time_ms,
                received_us: tick.received_us,
                snapshot: tick.snapshot,
                delayed_s: tick.delayed_s,
                details: tick.details.as_deref().map(encode_details),
            })
        }
        Body::State(state) => wire::channel_event::Body::State(wire::SymbolState {
            kind: match state.state {
                SymbolState::Pending => wire::symbol_state::Kind::Pending,
                SymbolState::Live => wire::symbol_state::Kind::Live,
                SymbolState::Stale => wire::symbol_state::Kind::Stale,
                SymbolState::Closed => wire::symbol_state::Kind::Closed,
                SymbolState::Refused => wire::symbol_state::Kind::Refused,
            }
            .into(),
            code: state.code.clone(),
            message: state.message.clone(),
            until_ms: state.until_ms,
        }),
    };
    wire::ChannelEvent {
        symbol: event.symbol.as_str().to_owned(),
        epoch: event.position.epoch,
        seq: event.position.seq,
        body: Some(body),
    }
    .encode_to_vec()
}

fn encode_details(details: &Details) -> wire::Details {
    let [bid_size, ask_size, volume, change, change_percent] = details.numbers().map(|number| {
        number.map(|number| wire::Decimal { units: number.units(), scale: number.scale().into() })
    });
    let session = details.session.as_ref().map(|phase| phase.as_str().to_owned());
    wire::Details { bid_size, ask_size, volume, change, change_percent, session }
}

/// Reads a channel event.
///
/// # Errors
/// [`BusError::Decode`] where the bytes are not protobuf, [`BusError::Meaning`] where a value is impossible.
pub fn decode_channel_event(bytes: &[u8]) -> Result<ChannelEvent, BusError> {
    let event = wire::ChannelEvent::decode(bytes)?;
    let symbol = Symbol::new(&event.symbol).ok_or(BusError::Meaning("symbol"))?;
    let position = Position { epoch: event.epoch, seq: event.seq };
    let body = match event.body.ok_or(BusError::Meaning("no body"))? {
        wire::channel_event::Body::Tick(tick) => Body::Tick(decode_tick(&tick)?),
        wire::channel_event::Body::State(state) => Body::State(StateChange {
            state: match state.kind() {
                wire::symbol_state::Kind::Unspecified => return Err(BusError::Meaning("symbol state")),
                wire::symbol_state::Kind::Pending => SymbolState::Pending,
                wire::symbol_state::Kind::Live => SymbolState::Live,
                wire::symbol_state::Kind::Stale => SymbolState::Stale,
                wire::symbol_state::Kind::Closed => SymbolState::Closed,
                wire::symbol_state::Kind::Refused => SymbolState::Refused,
            },
            code: state.code,
            message: state.message,
            until_ms: state.until_ms,
        }),
    };
    if matches!(body, Body::Tick(_)) && position.seq == 0 {
        return Err(BusError::Meaning("a tick without a number"));
    }
    Ok(ChannelEvent { symbol, position, body })
}

fn decode_tick(tick: &wire::Tick) -> Result<Tick, BusError> {
    let scale = u8::try_from(tick.price_scale).map_err(|_| BusError::Meaning("price scale"))?;
    let price = |units: Option<i64>| {
        units.map(|units| Price::new(units, scale).ok_or(BusError::Meaning("price scale"))).transpose()
    };
    Ok(Tick {
        bid: price(tick.bid)?,
        ask: price(tick.ask)?,
        last: price(tick.last)?,
        digits: u8::try_from(tick.digits).map_err(|_| BusError::Meaning("digits"))?,
        venue_time_ms: tick.venue_time_ms,
        received_us: tick.received_us,
        snapshot: tick.snapshot,
        delayed_s: tick.delayed_s,
        details: tick.details.as_ref().map(decode_details).transpose()?.map(Arc::new),
    })
}

fn decode_details(details: &wire::Details) -> Result<Details, BusError> {
    let number = |number: Option<wire::Decimal>| match number {
        Some(wire::Decimal { units, scale }) => {
            let number = u8::try_from(scale).ok().and_then(|scale| Decimal::new(units, scale));
            number.ok_or(BusError::Meaning("scale")).map(Some)
        }
        None => Ok(None),
    };
    let session = details.session.as_deref();
    Ok(Details {
        bid_size: number(details.bid_size)?,
        ask_size: number(details.ask_size)?,
        volume: number(details.volume)?,
        change: number(details.change)?,
        change_percent: number(details.change_percent)?,
        session: session.map(|word| Phase::new(word).ok_or(BusError::Meaning("session"))).transpose()?,
    })
}

/// Writes a venue's health for `health.<venue>`.
pub fn encode_health(health: &VenueHealth) -> Vec<u8> {
    use wire::venue_health::{Auth, Data, Link};
    wire::VenueHealth {
        venue: health.venue.as_str().to_owned(),
        epoch: health.epoch,
        link: match health.link {
            LinkState::Down => Link::Down,
            LinkState::Connecting => Link::Connecting,
            LinkState::Up => Link::Up,
        }
        .into(),
        auth: match health.auth {
            AuthState::None => Auth::None,
            AuthState::Pending => Auth::Pending,
            AuthState::Ok => Auth::Ok,
            AuthState::Refused => Auth::Refused,
        }
        .into(),
        data: match health.data {
            DataState::Idle => Data::Idle,
            DataState::Live => Data::Live,
            DataState::Stale => Data::Stale,
        }
        .into(),
        link_since_ms: health.link_since_ms,
        auth_since_ms: health.auth_since_ms,
        data_since_ms: health.data_since_ms,
        cause_code: health.cause.as_ref().map_or_else(String::new, |cause| cause.kind.code().to_owned()),
        cause_detail: health.cause.as_ref().map_or_else(String::new, |cause| cause.detail.clone()),
        attempt: health.attempt,
        retry_in_ms: health.retry_in_ms,
        last_tick_age_ms: health.last_tick_age_ms,
        catalogue_version: health.catalogue_version,
        at_ms: health.at_ms,
    }
    .encode_to_vec()
}

/// Reads a venue's health.
///
/// # Errors
/// [`BusError::Decode`] where the bytes are not protobuf, [`BusError::Meaning`] where a value is impossible.
pub fn decode_health(bytes: &[u8]) -> Result<VenueHealth, BusError> {
    use wire::venue_health::{Auth, Data, Link};
    let health = wire::VenueHealth::decode(bytes)?;
    Ok(VenueHealth {
        venue: VenueId::new(&health.venue).ok_or(BusError::Meaning("venue"))?,
        epoch: health.epoch,
        link: match health.link() {
            Link::Unspecified => return Err(BusError::Meaning("link")),
            Link::Down => LinkState::Down,
            Link::Connecting => LinkState::Connecting,
            Link::Up => LinkState::Up,
        },
        auth: match health.auth() {
            Auth::Unspecified => return Err(BusError::Meaning("auth")),
            Auth::None => AuthState::None,
            Auth::Pending => AuthState::Pending,
            Auth::Ok => AuthState::Ok,
            Auth::Refused => AuthState::Refused,
        },
        data: match health.data() {
            Data::Unspecified => return Err(BusError::Meaning("data")),
            Data::Idle => DataState::Idle,
            Data::Live => DataState::Live,
            Data::Stale => DataState::Stale,
        },
        link_since_ms: health.link_since_ms,
        auth_since_ms: health.auth_since_ms,
        data_since_ms: health.data_since_ms,
        // A code of a newer ingest is kept as a venue error rather than lost.
        cause: (!health.cause_code.is_empty()).then(|| {
            let kind = CauseKind::from_code(&health.cause_code).unwrap_or(CauseKind::VenueError);
            Cause::new(kind, health.cause_detail)
        }),
        attempt: health.attempt,
        retry_in_ms: health.retry_in_ms,
        last_tick_age_ms: health.last_tick_age_ms,
        catalogue_version: health.catalogue_version,
        at_ms: health.at_ms,
    })
}

/// Writes a lease for `lease.<venue>`.
pub fn encode_lease(lease: &Lease) -> Vec<u8> {
    wire::Lease {
        holder: lease.holder.clone(),
        generation: lease.generation,
        ttl_ms: lease.ttl_ms,
        symbols: lease.symbols.iter().map(|symbol| symbol.as_str().to_owned()).collect(),
        repeat_last: lease.repeat_last,
    }
    .encode_to_vec()
}

/// Reads a lease; names that cannot be a symbol are left out, as nobody could tick on them.
///
/// # Errors
/// [`BusError::Decode`] where the bytes are not protobuf, [`BusError::Meaning`] where the holder has no usable name.
pub fn decode_lease(bytes: &[u8]) -> Result<Lease, BusError> {
    let lease = wire::Lease::decode(bytes)?;
    if lease.holder.is_empty() || lease.holder.len() > HOLDER_BYTES_MAX {
        return Err(BusError::Meaning("lease holder"));
    }
    Ok(Lease {
        holder: lease.holder,
        generation: lease.generation,
        ttl_ms: lease.ttl_ms,
        symbols: lease.symbols.iter().filter_map(|name| Symbol::new(name)).collect(),
        repeat_last: lease.repeat_last,
    })
}

/// Writes the answer to `ask.<venue>.catalogue`.
pub fn encode_catalogue(venue: &VenueId, epoch: u64, catalogue: &Catalogue) -> Vec<u8> {
    wire::Catalogue {
        venue: venue.as_str().to_owned(),
        epoch,
        version: catalogue.version,
        open: catalogue.open,
        instruments: catalogue
            .instruments
            .iter()
            .map(|instrument| wire::Instrument {
                symbol: instrument.symbol.as_str().to_owned(),
                description: instrument.description.clone(),
                digits: instrument.digits.map(u32::from),
                pip_position: instrument.pip_position.map(i32::from),
            })
            .collect(),
    }
    .encode_to_vec()
}

/// Reads a catalogue and the epoch of the ingest that gave it.
///
/// # Errors
/// [`BusError::Decode`] where the bytes are not protobuf.
pub fn decode_catalogue(bytes: &[u8]) -> Result<(u64, Catalogue), BusError> {
    let catalogue = wire::Catalogue::decode(bytes)?;
    let instruments = catalogue.instruments.into_iter().filter_map(|instrument| {
        Some(Instrument {
            symbol: Symbol::new(&instrument.symbol)?,
            description: instrument.description,
            digits: instrument.digits.and_then(|digits| u8::try_from(digits).ok()),
            pip_position: instrument.pip_position.and_then(|place| i8::try_from(place).ok()),
        })
    });
    let known =
        Catalogue { version: catalogue.version, open: catalogue.open, instruments: instruments.collect() };
    Ok((catalogue.epoch, known))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price() -> impl Strategy<Value = Option<i64>> {
        proptest::option::of(any::<i64>())
    }

    proptest! {
        #[test]
        fn a_tick_survives_the_bus(bid in price(), ask in price(), scale in 0u8..=18, digits in any::<u8>(),
                                   time in proptest::option::of(any::<i64>()), seq in 1u64.., snapshot in any::<bool>(),
                                   delayed_s in proptest::option::of(any::<u32>())) {
            let at = |units: Option<i64>| units.map(|units| Price::new(units, scale).unwrap());
            let event = ChannelEvent {
                symbol: Symbol::new("EURUSD").unwrap(),
                position: Position { epoch: 7, seq },
                body: Body::Tick(Tick { bid: at(bid), ask: at(ask), last: None, digits, venue_time_ms: time,
                                        received_us: 5, snapshot, delayed_s, details: None }),
            };
            prop_assert_eq!(decode_channel_event(&encode_channel_event(&event)).unwrap(), event);
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_channel_event(&bytes);
            let _ = decode_health(&bytes);
            let _ = decode_lease(&bytes);
            let _ = decode_catalogue(&bytes);
        }
    }

    #[test]
    fn states_health_leases_and_catalogues_survive_the_bus() {
        let event = ChannelEvent {
            symbol: Symbol::new("GER40.cash").unwrap(),
            position: Position { epoch: 1, seq: 0 },
            body: Body::State(StateChange {
                state: SymbolState::Refused,
                code: Some("SYMBOL_REFUSED".into()),
                message: Some("no such symbol".into()),
                until_ms: Some(9),
            }),
        };
        assert_eq!(decode_channel_event(&encode_channel_event(&event)).unwrap(), event);

        let venue = VenueId::new("ctrader").unwrap();
        let health = VenueHealth {
            venue: venue.clone(),
            epoch: 3,
            link: LinkState::Down,
            auth: AuthState::None,
            data: DataState::Stale,
            link_since_ms: 1,
            auth_since_ms: 2,
            data_since_ms: 3,
            cause: Some(Cause::new(CauseKind::Silence, "60 s")),
            attempt: 4,
            retry_in_ms: Some(5),
            last_tick_age_ms: None,
            catalogue_version: 6,
            at_ms: 7,
        };
        assert_eq!(decode_health(&encode_health(&health)).unwrap(), health);

        let lease = Lease {
            holder: "gw-1".into(),
            generation: 2,
            ttl_ms: 15_000,
            symbols: vec![Symbol::new("EURUSD").unwrap()],
            repeat_last: true,
        };
        assert_eq!(decode_lease(&encode_lease(&lease)).unwrap(), lease);

        let catalogue = Catalogue {
            version: 1,
            open: false,
            instruments: vec![Instrument {
                symbol: Symbol::new("EURUSD").unwrap(),
                description: "Euro vs US Dollar".into(),
                digits: Some(5),
                pip_position: Some(4),
            }],
        };
        assert_eq!(decode_catalogue(&encode_catalogue(&venue, 3, &catalogue)).unwrap(), (3, catalogue));
    }

    #[test]
    fn a_message_that_makes_no_sense_is_refused() {
        let no_body = wire::ChannelEvent { symbol: "A".into(), epoch: 1, seq: 1, body: None };
        assert!(matches!(decode_channel_event(&no_body.encode_to_vec()), Err(BusError::Meaning(_))));
        let unnumbered = wire::ChannelEvent {
            symbol: "A".into(),
            epoch: 1,
            seq: 0,
            body: Some(wire::channel_event::Body::Tick(wire::Tick::default())),
        };
        assert!(matches!(decode_channel_event(&unnumbered.encode_to_vec()), Err(BusError::Meaning(_))));
        assert!(matches!(decode_lease(&[]), Err(BusError::Meaning(_))));
        assert!(matches!(decode_health(&[0xff]), Err(BusError::Decode(_))));
    }
}
