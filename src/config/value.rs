//! What a setting can hold: how a value is written, read and shown.

use std::fmt;

/// A value as somebody wrote it. Not shown by `Debug`: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Written {
    One(String),
    Many(Vec<String>),
    Rules(Vec<WrittenRule>),
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Written::One(_) => "One(..)",
            Written::Many(_) => "Many(..)",
            Written::Rules(_) => "Rules(..)",
        })
    }
}

/// A rule as somebody wrote it: names and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenRule {
    pub(super) fields: Vec<(String, Written)>,
}

/// Which form of [`Written`] a setting has in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Many,
    Rules,
}

/// What a setting can hold.
pub(super) trait Value: Sized {
    const SHAPE: Shape;

    /// Reads what was written, or says why it cannot be.
    fn read(written: &Written) -> Result<Self, String>;

    /// As somebody could have written it.
    fn show(&self) -> String;
}

/// A value of one word.
pub(super) trait Scalar: Sized {
    /// What may be written, as the end of "is not ...".
    const WHAT: &'static str;
    /// How "none" is written, where it may be.
    const NONE: &'static str = "none";
    /// Never shown.
    const SECRET: bool = false;

    fn parse(text: &str) -> Result<Self, Unfit>;
    fn show(&self) -> String;
}

/// Why a word is no value.
pub(super) enum Unfit {
    /// It is not what [`Scalar::WHAT`] says.
    Plainly,
    /// For this reason, a sentence that shows what can be shown of the word.
    Because(String),
}

fn parse<T: Scalar>(text: &str) -> Result<T, String> {
    let shown = if T::SECRET { "********" } else { text };
    T::parse(text).map_err(|unfit| match unfit {
        Unfit::Plainly => format!("[{shown}] is not {}", T::WHAT),
        Unfit::Because(reason) => reason,
    })
}

impl<T: Scalar> Value for T {
    const SHAPE: Shape = Shape::One;

    fn read(written: &Written) -> Result<T, String> {
        match written {
            Written::One(text) => parse(text),
            Written::Many(_) | Written::Rules(_) => Err(format!("a list is not {}", <T as Scalar>::WHAT)),
        }
    }

    fn show(&self) -> String {
        Scalar::show(self)
    }
}

impl<T: Scalar> Value for Option<T> {
    const SHAPE: Shape = Shape::One;

    fn read(written: &Written) -> Result<Option<T>, String> {
        match written {
            Written::One(text) if text.is_empty() || text == T::NONE => Ok(None),
            written => <T as Value>::read(written).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| T::NONE.to_owned(), Scalar::show)
    }
}

impl<T: Scalar> Value for Vec<T> {
    const SHAPE: Shape = Shape::Many;

    fn read(written: &Written) -> Result<Vec<T>, String> {
        match written {
            Written::One(text) => {
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(parse).collect()
            }
            Written::Many(texts) => texts.iter().map(|text| parse(text)).collect(),
            Written::Rules(_) => Err(format!("a list of rules is not {}", T::WHAT)),
        }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(Scalar::show).collect::<Vec<_>>().join(", "))
    }
}
