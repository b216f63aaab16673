//! What a subscriber shows, and so which simulcast layer it asks for: the layouts of `lk load-test`.

use std::str::FromStr;

use anyhow::{Result, bail};
use signaling_protocol::proto::{UpdateTrackSettings, VideoQuality};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One large picture and up to five small ones.
    Speaker,
    /// Equal tiles: this many in a row and in a column.
    Grid(usize),
}

/// Pictures beside the speaker's.
const SMALL_MAX: usize = 5;

impl Layout {
    /// The setting of the video track at this place; tracks without a place are paused.
    pub fn settings(self, place: usize, sid: &str) -> UpdateTrackSettings {
        let quality = match self {
            Self::Speaker if place == 0 => Some(VideoQuality::High),
            Self::Speaker => (place <= SMALL_MAX).then_some(VideoQuality::Low),
            Self::Grid(side) if place >= side * side => None,
            Self::Grid(side) => Some(if side <= 3 { VideoQuality::Medium } else { VideoQuality::Low }),
        };
        let (width, height) = match quality {
            Some(VideoQuality::High) => (1_280, 720),
            Some(VideoQuality::Medium) => (640, 360),
            _ => (320, 180),
        };
        UpdateTrackSettings {
            track_sids: vec![sid.to_owned()],
            disabled: quality.is_none(),
            quality: quality.unwrap_or(VideoQuality::Low).into(),
            width,
            height,
            ..UpdateTrackSettings::default()
        }
    }
}

impl FromStr for Layout {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "speaker" => Self::Speaker,
            "3x3" => Self::Grid(3),
            "4x4" => Self::Grid(4),
            "5x5" => Self::Grid(5),
            _ => bail!("{text:?} is no layout; there are speaker, 3x3, 4x4, 5x5"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heights(layout: &str, places: usize) -> Vec<u32> {
        let layout: Layout = layout.parse().unwrap();
        let settings = (0..places).map(|place| layout.settings(place, "TR_x"));
        settings.filter(|settings| !settings.disabled).map(|settings| settings.height).collect()
    }

    #[test]
    fn the_speaker_is_large_others_are_small_and_the_rest_is_paused() {
        assert_eq!(heights("speaker", 20), [720, 180, 180, 180, 180, 180]);
        assert_eq!(heights("3x3", 20), [360; 9]);
        assert_eq!(heights("4x4", 20), [180; 16]);
        assert!("2x2".parse::<Layout>().is_err());
    }
}
