//! Compares our files with the official schema, where its description stands beside the checkout (facts 5.4, test A).

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::Value;

const OFFICIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/facts/ctrader-descriptor.json");

/// Every message there is to declare, each with all its fields.
const COMPLETE_MESSAGES: &[&str] = &[
    "ProtoErrorRes",
    "ProtoHeartbeatEvent",
    "ProtoMessage",
    "ProtoOAAccountAuthReq",
    "ProtoOAAccountAuthRes",
    "ProtoOAAccountDisconnectEvent",
    "ProtoOAAccountLogoutReq",
    "ProtoOAAccountLogoutRes",
    "ProtoOAAccountsTokenInvalidatedEvent",
    "ProtoOAApplicationAuthReq",
    "ProtoOAApplicationAuthRes",
    "ProtoOAArchivedSymbol",
    "ProtoOAAsset",
    "ProtoOAAssetClass",
    "ProtoOAAssetClassListReq",
    "ProtoOAAssetClassListRes",
    "ProtoOAAssetListReq",
    "ProtoOAAssetListRes",
    "ProtoOAClientDisconnectEvent",
    "ProtoOACtidTraderAccount",
    "ProtoOADepthEvent",
    "ProtoOADepthQuote",
    "ProtoOAErrorRes",
    "ProtoOAGetAccountListByAccessTokenReq",
    "ProtoOAGetAccountListByAccessTokenRes",
    "ProtoOAGetTickDataReq",
    "ProtoOAGetTickDataRes",
    "ProtoOAGetTrendbarsReq",
    "ProtoOAGetTrendbarsRes",
    "ProtoOAHoliday",
    "ProtoOAInterval",
    "ProtoOALightSymbol",
    "ProtoOARefreshTokenReq",
    "ProtoOARefreshTokenRes",
    "ProtoOASpotEvent",
    "ProtoOASubscribeDepthQuotesReq",
    "ProtoOASubscribeDepthQuotesRes",
    "ProtoOASubscribeLiveTrendbarReq",
    "ProtoOASubscribeLiveTrendbarRes",
    "ProtoOASubscribeSpotsReq",
    "ProtoOASubscribeSpotsRes",
    "ProtoOASymbol",
    "ProtoOASymbolByIdReq",
    "ProtoOASymbolByIdRes",
    "ProtoOASymbolCategory",
    "ProtoOASymbolCategoryListReq",
    "ProtoOASymbolCategoryListRes",
    "ProtoOASymbolChangedEvent",
    "ProtoOASymbolsForConversionReq",
    "ProtoOASymbolsForConversionRes",
    "ProtoOASymbolsListReq",
    "ProtoOASymbolsListRes",
    "ProtoOATickData",
    "ProtoOATrader",
    "ProtoOATraderReq",
    "ProtoOATraderRes",
    "ProtoOATraderUpdatedEvent",
    "ProtoOATrendbar",
    "ProtoOAUnsubscribeDepthQuotesReq",
    "ProtoOAUnsubscribeDepthQuotesRes",
    "ProtoOAUnsubscribeLiveTrendbarReq",
    "ProtoOAUnsubscribeLiveTrendbarRes",
    "ProtoOAUnsubscribeSpotsReq",
    "ProtoOAUnsubscribeSpotsRes",
    "ProtoOAVersionReq",
    "ProtoOAVersionRes",
];

/// Every enum there is to declare, each with all its values.
const COMPLETE_ENUMS: &[&str] = &[
    "ProtoErrorCode",
    "ProtoOAAccessRights",
    "ProtoOAAccountType",
    "ProtoOAClientPermissionScope",
    "ProtoOACommissionType",
    "ProtoOADayOfWeek",
    "ProtoOAErrorCode",
    "ProtoOALimitedRiskMarginCalculationStrategy",
    "ProtoOAMinCommissionType",
    "ProtoOAPayloadType",
    "ProtoOAQuoteType",
    "ProtoOAStopOutStrategy",
    "ProtoOASwapCalculationType",
    "ProtoOASymbolDistanceType",
    "ProtoOATotalMarginCalculationType",
    "ProtoOATradingMode",
    "ProtoOATrendbarPeriod",
    "ProtoPayloadType",
];

/// A field as both sides describe it.
#[derive(PartialEq, Eq, Debug)]
struct Field {
    name: String,
    label: String,
    kind: String,
    type_name: Option<String>,
    default: Option<String>,
    packed: bool,
}

/// Row 22 of the venue's pitfalls: the definitions are our own, and agree with the published ones.
#[test]
fn our_files_say_what_the_official_schema_says() {
    if !Path::new(OFFICIAL).exists() {
        println!(
            "skipped: {OFFICIAL} is not there; the files are compared with a published client in peers/check"
        );
        return;
    }
    let official: Value = serde_json::from_slice(&std::fs::read(OFFICIAL).unwrap()).unwrap();
    let ours = FileDescriptorSet::decode(sim_ctrader::DESCRIPTOR_SET).unwrap();

    for file in &ours.file {
        assert_eq!(file.package(), "", "{} has a package", file.name());
        assert!(matches!(file.syntax(), "" | "proto2"), "{} is not proto2", file.name());
        assert!(
            file.extension.is_empty() && file.service.is_empty(),
            "{} declares more than messages",
            file.name()
        );
    }
    let messages: BTreeMap<&str, &DescriptorProto> = ours
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .map(|message| (message.name(), message))
        .collect();
    let enums: BTreeMap<&str, &EnumDescriptorProto> =
        ours.file.iter().flat_map(|file| &file.enum_type).map(|one| (one.name(), one)).collect();
    assert_eq!(messages.keys().copied().collect::<Vec<_>>(), COMPLETE_MESSAGES);
    assert_eq!(enums.keys().copied().collect::<Vec<_>>(), COMPLETE_ENUMS);

    let values = |name: &str| official_values(&official, name);
    for (name, message) in &messages {
        compare_message(name, message, &official["messages"][name]);
    }
    for (name, one) in &enums {
        let declared: BTreeMap<String, i64> =
            one.value.iter().map(|value| (value.name().to_owned(), value.number().into())).collect();
        assert_eq!(declared, values(name), "{name}");
        assert!(one.reserved_range.is_empty() && one.reserved_name.is_empty(), "{name} reserves values");
    }
    payload_types_agree(&official, &messages, &values);
}

fn compare_message(name: &str, message: &DescriptorProto, official: &Value) {
    assert!(official.is_object(), "{name} is not in the official schema");
    assert_eq!(official["on_current_main"], true, "{name} is gone from the main branch");
    let official: BTreeMap<i64, Field> = official["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["number"].as_i64().unwrap(), known(field)))
        .collect();
    let declared: BTreeMap<i64, Field> =
        message.field.iter().map(|field| (field.number().into(), ours(field))).collect();
    assert_eq!(declared, official, "{name}");
    assert_eq!(declared.len(), message.field.len(), "{name} uses a number twice");
    let extra = (message.reserved_range.len(), message.extension_range.len(), message.oneof_decl.len());
    assert_eq!(extra, (0, 0, 0), "{name} reserves, extends or groups fields");
}

/// The default of each message's own payload type, and the number the simulator dispatches on, are the official ones.
fn payload_types_agree(
    official: &Value,
    messages: &BTreeMap<&str, &DescriptorProto>,
    values: &dyn Fn(&str) -> BTreeMap<String, i64>,
) {
    let mut seen = BTreeSet::new();
    for (name, message) in messages {
        let Some(number) = official["messages"][name]["payload_type"].as_i64() else { continue };
        let field = message.field.iter().find(|field| field.name() == "payloadType").unwrap();
        let default = values(field.type_name().trim_start_matches('.'))[field.default_value()];
        assert_eq!(default, number, "{name}");
        assert!(seen.insert(number), "{name} shares its payload type");
    }
    assert!(seen.len() > 50);
    for (name, number) in sim_ctrader::PAYLOADS {
        assert_eq!(official["messages"][name]["payload_type"].as_i64(), Some(i64::from(*number)), "{name}");
    }
}

/// The official values of an enum, as of the main branch.
fn official_values(official: &Value, name: &str) -> BTreeMap<String, i64> {
    let removed =
        &official["variants"]["current_main"]["differences_from_baseline"]["enum_values_absent"][name];
    let values =
        official["enums"][name].as_object().unwrap_or_else(|| panic!("{name} is not in the official schema"));
    values
        .iter()
        .filter(|(value, _)| removed.get(value.as_str()).is_none())
        .map(|(value, number)| (value.clone(), number.as_i64().unwrap()))
        .collect()
}

fn known(field: &Value) -> Field {
    let text = |key: &str| field[key].as_str().map(str::to_owned);
    let default = match &field["default"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Field {
        name: text("name").unwrap(),
        label: text("label").unwrap(),
        kind: text("type").unwrap(),
        type_name: text("type_name"),
        default,
        packed: field["packed"].as_bool().unwrap(),
    }
}

fn ours(field: &FieldDescriptorProto) -> Field {
    let label = match field.label() {
        Label::Optional => "optional",
        Label::Required => "required",
        Label::Repeated => "repeated",
    };
    let kind = match field.r#type() {
        Type::Double => "double",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Uint32 => "uint32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Message => "message",
        Type::Enum => "enum",
        other => panic!("the official schema has no {other:?}"),
    };
    Field {
        name: field.name().to_owned(),
        label: label.to_owned(),
        kind: kind.to_owned(),
        type_name: field.type_name.as_deref().map(|name| name.trim_start_matches('.').to_owned()),
        default: field.default_value.clone(),
        packed: field.options.as_ref().is_some_and(|options| options.packed()),
    }
}
