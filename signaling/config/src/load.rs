//! Files: the configuration, and the keys that it points to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Config;
use crate::document::parse;
use crate::notice::{ConfigError, Notice, Problem};
use crate::read::read_keys;
use crate::reader::Reader;

/// Nobody writes a larger configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads the file at `path` and its key file, and makes sure that there is a key.
    ///
    /// Errors: an unreadable file, every wrong value, a key file that others may read, no keys at all.
    pub fn load(path: &Path) -> Result<(Self, Vec<Notice>), ConfigError> {
        let in_file = |mut error: ConfigError| {
            error.file = Some(path.display().to_string());
            error
        };
        let text = read(path).map_err(ConfigError::one)?;
        let (mut config, mut notices) = Self::parse(&text).map_err(in_file)?;
        notices.extend(config.load_key_file()?);
        config.require_keys().map_err(in_file)?;
        Ok((config, notices))
    }

    /// Adds the keys of `key_file`, if one is set. They win over those of the configuration.
    pub fn load_key_file(&mut self) -> Result<Vec<Notice>, ConfigError> {
        let Some(path) = self.key_file.clone() else { return Ok(Vec::new()) };
        let in_file = |mut error: ConfigError| {
            error.file = Some(path.display().to_string());
            error
        };
        let mode =
            std::fs::metadata(&path).map_err(|error| ConfigError::one(unreadable(&path, &error)))?.permissions().mode();
        if mode & 0o007 != 0 {
            let remedy = format!("run `chmod o= {}`", path.display());
            return Err(in_file(ConfigError::one(Problem::new(None, "others may read this file of secrets", remedy))));
        }
        let text = read(&path).map_err(ConfigError::one)?;
        let document = parse(&text).map_err(in_file)?;
        let mut reader = Reader::default();
        let keys = read_keys(&mut reader, "keys", Some(&document));
        if !reader.problems.is_empty() {
            return Err(in_file(ConfigError { file: None, problems: reader.problems }));
        }
        self.keys.extend(keys);
        Ok(reader.notices)
    }

    /// Without a key nobody can join.
    pub fn require_keys(&self) -> Result<(), ConfigError> {
        if !self.keys.is_empty() {
            return Ok(());
        }
        let remedy = "add `keys:` with a line `  <api key>: <secret of 32 characters or more>`, or set key_file";
        Err(ConfigError::one(Problem::new(None, "there is no API key", remedy)))
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let bytes = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Problem::new(None, format!("{} has {bytes} bytes", path.display()), "is it the configuration?"));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(None, format!("cannot read {}: {error}", path.display()), "check the path and its permissions")
}
