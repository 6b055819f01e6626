//! The venue without a socket: bytes and time in, bytes and endings out.

#![cfg(test)]

mod accounts;
mod bench;
mod calendar;
mod faults;
mod normal;
mod requests;
mod scenarios;
mod sessions;
mod streams;
