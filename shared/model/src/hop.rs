/// One step on a symbol's way from the venue to whoever reads it, as the answer to "why is it quiet?".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// The step's short name, lower case: `link`, `login`, `subscription`, `schedule`, `ticks`.
    pub name: String,
    /// True where the step is as it should be.
    pub ok: bool,
    /// Since when it is as it is, Unix milliseconds, where that is known.
    pub since_ms: Option<i64>,
    /// How it stands, in words.
    pub detail: String,
    /// What happens next, in words; empty where nothing has to.
    pub next: String,
}
