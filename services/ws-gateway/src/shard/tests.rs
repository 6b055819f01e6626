mod bench;
mod clients;
mod forms;
mod property;
mod resume;
mod writes;
