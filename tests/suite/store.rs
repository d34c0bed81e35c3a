//! Stores: what every backend promises, and what transactions, files and history promise on top of it.

mod attach;
mod conformance;
mod crash;
mod files;
mod format;
mod guards;
mod hostile;
mod many;
mod model;
mod objects;
mod spaces;
mod threads;
mod transactions;
