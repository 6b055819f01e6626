mod bench;
mod clients;
mod forms;
mod property;
mod rates;
mod resume;
mod slow;
mod writes;
