use rustc_hash::FxHashMap;

use crate::Settings;

/// All symbols of a run, each with its place.
pub(crate) struct SymbolTable {
    names: Vec<String>,
    places: FxHashMap<Box<[u8]>, u32>,
}

impl SymbolTable {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let places = names.iter().zip(0..).map(|(name, place)| (name.as_bytes().into(), place)).collect();
        Self { names, places }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, place: u32) -> &str {
        self.names.get(place as usize).map_or("", String::as_str)
    }

    pub(crate) fn place(&self, name: &[u8]) -> Option<u32> {
        self.places.get(name).copied()
    }

    /// A client's own choice, in order of the places, the same in every run with the same seed.
    pub(crate) fn choice(&self, settings: &Settings, client: usize) -> Vec<u32> {
        let mut places: Vec<u32> = (0..).take(self.len()).collect();
        if let Some(count) = settings.random_per_client.filter(|count| *count < places.len()) {
            let mut draw = fastrand::Rng::with_seed(settings.seed.wrapping_add(client as u64));
            draw.shuffle(&mut places);
            places.truncate(count);
            places.sort_unstable();
        }
        places
    }
}
