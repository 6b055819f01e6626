/// A class of assets; each has one category of the same name and key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Currency pairs.
    Forex,
    /// Precious metals.
    Metals,
    /// Stock indices.
    Indices,
    /// Oil and gas.
    Energies,
    /// Crypto currencies.
    Crypto,
    /// Shares of companies.
    Shares,
}
