//! What the operator is told: notices that do not stop the start, problems that do.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Another meaning than in LiveKit; nothing to do.
    Info,
    /// Something that the file asks for does not happen.
    Warning,
}

/// A remark about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    /// From 1.
    pub line: Option<u32>,
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// A wrong value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: Option<u32>,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(line: Option<u32>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line, text: text.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; {}", self.text, self.remedy)
    }
}

/// Why a configuration is refused: every problem found, in the order of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, where one was read.
    pub file: Option<String>,
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn one(problem: Problem) -> Self {
        Self { file: None, problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                write!(f, "{file}: ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
