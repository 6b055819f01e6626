//! The pure venue in virtual time: what a client is told when all is well, and under each fault.

#![cfg(test)]

mod bench;
mod charts;
mod connections;
mod data_faults;
mod every_fault;
mod line_faults;
mod quotes;
