//! What is measured in which order: scenarios, the values of a curve within each, rounds, and the servers in turn.
//!
//! ```text
//! scenario ─▶ round ─▶ ours at value 1, ours at value 2, …, theirs        a parameter of our node: theirs once a round
//!                  └─▶ value 1: ours, theirs; value 2: ours, theirs; …    a parameter of the load
//! ```

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use perf_load::Scenario;
use perf_report::{Case, Node, Point};

use crate::line::Line;

const VALUES_MAX: usize = 32;

/// A parameter and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    pub name: String,
    pub values: Vec<String>,
}

impl FromStr for Curve {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, values) = text.split_once('=').context("write NAME=V1,V2")?;
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !is_name || values.iter().any(String::is_empty) || values.len() > VALUES_MAX {
            bail!("{text:?} is no NAME=V1,V2 with up to {VALUES_MAX} values");
        }
        Ok(Self { name: name.to_owned(), values })
    }
}

/// A scenario at a value, and our node's setup for it.
#[derive(Clone, Debug)]
pub struct Step {
    pub scenario: Scenario,
    pub node: Node,
    pub point: Option<Point>,
}

/// The steps of one scenario.
#[derive(Clone, Debug)]
pub struct Series {
    pub steps: Vec<Step>,
    /// Whether the rival's measurement is the same at every step.
    pub is_rival_constant: bool,
}

/// All series. **Errors**: an unreadable file, a value out of bounds, a parameter that nothing contains.
pub fn plan(line: &Line) -> Result<Vec<Series>> {
    let config = line.ours.node_config.as_ref().map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the node's configuration {}", path.display()))
    });
    let node = Node { config: config.transpose()?, arguments: line.ours.node_arg.clone() };
    let scenarios = line.scenarios.iter().map(|path| {
        let mut scenario = Scenario::load(path)?;
        scenario.steady.seconds = line.seconds.unwrap_or(scenario.steady.seconds);
        scenario.subscribers.count = line.subscribers.unwrap_or(scenario.subscribers.count);
        scenario.srtp = line.srtp.unwrap_or(scenario.srtp);
        scenario.check()?;
        series(&scenario, &node, line.curve.as_ref())
    });
    scenarios.collect()
}

fn series(scenario: &Scenario, node: &Node, curve: Option<&Curve>) -> Result<Series> {
    let Some(curve) = curve else {
        let step = Step { scenario: scenario.clone(), node: node.clone(), point: None };
        return Ok(Series { steps: vec![step], is_rival_constant: true });
    };
    let steps =
        curve.values.iter().map(|value| step(scenario, node, &curve.name, value)).collect::<Result<Vec<_>>>()?;
    let is_rival_constant = steps.iter().all(|step| step.scenario == *scenario);
    Ok(Series { steps, is_rival_constant })
}

fn step(scenario: &Scenario, node: &Node, name: &str, value: &str) -> Result<Step> {
    let (mut scenario, mut node) = (scenario.clone(), node.clone());
    match name {
        "subscribers" => scenario.subscribers.count = value.parse().with_context(|| format!("subscribers={value}"))?,
        "rooms" => scenario.rooms = value.parse().with_context(|| format!("rooms={value}"))?,
        "srtp" => scenario.srtp = value.parse()?,
        _ => {
            let place = format!("{{{name}}}");
            let parts = node.config.iter_mut().chain(&mut node.arguments);
            let places: Vec<&mut String> = parts.filter(|part| part.contains(&place)).collect();
            if places.is_empty() {
                bail!(
                    "nothing contains {place}: write it where the value shall stand, in the file of --node-config or a --node-arg"
                );
            }
            places.into_iter().for_each(|part| *part = part.replace(&place, value));
        }
    }
    scenario.check()?;
    Ok(Step { scenario, node, point: Some(Point { parameter: name.to_owned(), value: value.to_owned() }) })
}

impl Step {
    /// Without runs.
    pub fn case(&self) -> Result<Case> {
        Ok(Case {
            name: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            point: self.point.clone(),
            subscribers: self.scenario.subscriber_count(),
            load_threads: self.scenario.subscribers.threads,
            scenario: serde_json::to_value(&self.scenario)?,
            node: self.node.clone(),
            runs: Vec::new(),
            ratios: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "name='x'\n[[publishers]]\ncount=1\n[publishers.audio]\n[subscribers]\ncount=9";

    fn steps(node: &Node, curve: &str) -> Result<Series> {
        series(&Scenario::parse(SCENARIO).unwrap(), node, Some(&curve.parse()?))
    }

    #[test]
    fn a_parameter_of_the_node_is_put_into_its_file_and_arguments() {
        let node =
            Node { config: Some("millrace:\n  hold: {hold}\n".to_owned()), arguments: vec!["--x={hold}".to_owned()] };
        let series = steps(&node, "hold=0,5").unwrap();
        assert!(series.is_rival_constant);
        assert_eq!(series.steps[1].node.config.as_deref(), Some("millrace:\n  hold: 5\n"));
        assert_eq!(series.steps[1].node.arguments, ["--x=5"]);
        let missing = steps(&Node::default(), "hold=0").unwrap_err().to_string();
        assert!(missing.contains("{hold}") && missing.contains("--node-config"), "{missing}");
    }

    #[test]
    fn a_parameter_of_the_load_is_measured_with_both_servers() {
        let series = steps(&Node::default(), "subscribers=1,20").unwrap();
        assert!(!series.is_rival_constant);
        assert_eq!(series.steps[1].scenario.subscribers.count, 20);
        assert!(steps(&Node::default(), "subscribers=0").is_err());
        assert!(steps(&Node::default(), "srtp=gcm-128,md5").is_err());
    }

    #[test]
    fn a_curve_is_a_name_and_values() {
        for wrong in ["", "x", "x=", "=1", "x=1,,2", "a b=1"] {
            assert!(wrong.parse::<Curve>().is_err(), "{wrong}");
        }
    }
}
