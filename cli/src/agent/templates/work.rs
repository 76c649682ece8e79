//! All templates of one file, from the first rendering to the end of the agent.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use zeroize::Zeroizing;

use super::{
    brain::Brain,
    language::{Program, Rendered, Run},
    query::Query,
    source::{Habit, Source},
    target::{self, FilePlan, Put},
};
use crate::agent::{
    bell::Bell,
    cache::Cache,
    child::{Child, ChildPlan, Followed},
    deliver::Reload,
    here::Here,
    ledger::Ledger,
    log::Level,
    moment::Moment,
    repeats::Repeats,
    run::{Once, sleep_until},
    schedule, sinks,
    world::World,
};

/// Templates that ask for more are turned away: each answer is one request at every interval.
const QUESTIONS_MAX: usize = 1_000;
/// A single run tries so often.
const ONCE_TRIES: u32 = 3;
/// How long waits after failures may become.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One template.
pub(crate) struct Template {
    pub(crate) program: Program,
    pub(crate) target: Target,
    /// What is run when the file is another.
    pub(crate) command: Option<Reload>,
    /// Whether its failures count for `exit_on_retry_failure`.
    pub(crate) fatal: bool,
}

/// Where a template goes.
pub(crate) enum Target {
    File(FilePlan),
    Variable(String),
}

/// How often, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    pub(crate) habit: Habit,
    /// After so many failures in a row the agent ends; if nothing is said it never does.
    pub(crate) tries_max: Option<u32>,
}

/// What one file has templates for.
pub(crate) struct Work {
    brain: Brain<Here>,
    sheets: Vec<Sheet>,
    pace: Pace,
    token: Option<Zeroizing<String>>,
    once: Once,
    bell: Bell,
    failed_for_good: bool,
}

struct Sheet {
    template: Template,
    used: BTreeSet<Query>,
    text: Option<Zeroizing<String>>,
    state: State,
    failures: u32,
    again: Moment,
    /// What was said of it since it went well last.
    repeats: Repeats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It must be rendered.
    Due,
    /// Its file is there, and its command still has to succeed.
    Written,
    Done,
}

impl Work {
    pub(crate) fn new(
        templates: Vec<Template>,
        pace: Pace,
        source: Source<Here>,
        cache: Option<Rc<Cache>>,
        (once, bell): (Once, Bell),
    ) -> Work {
        let sheet = |template| Sheet {
            template,
            used: BTreeSet::new(),
            text: None,
            state: State::Due,
            failures: 0,
            again: Moment::default(),
            repeats: Repeats::default(),
        };
        let sheets: Vec<Sheet> = templates.into_iter().map(sheet).collect();
        let brain = Brain::new(source, pace.habit, cache);
        let work = Work { brain, sheets, pace, token: None, once, bell, failed_for_good: false };
        for at in 0..work.sheets.len() {
            work.ledger().expect_template(&work.name(at));
        }
        work
    }

    /// Renders, and goes on rendering. `true` if a single run has everything.
    pub(crate) async fn run(mut self, child: Option<ChildPlan>) -> bool {
        let mut child = child.map(|plan| Child::new(plan, Rc::clone(&self.brain.source.world.log)));
        if child.is_some() {
            self.ledger().expect_program();
        }
        let once = if child.is_some() { Once::No } else { self.once };
        let mut bell = self.bell.clone();
        let back = Rc::clone(&self.brain.source.identity.lock().await.back);
        loop {
            let next = tokio::select! {
                signal = bell.asked() => {
                    if let Some(child) = &mut child {
                        bell.end(child.end(signal).await);
                    }
                    return true;
                }
                code = ended(&mut child) => {
                    bell.end(code);
                    return true;
                }
                next = self.round() => next,
            };
            if self.failed_for_good {
                self.log(Level::Error, "exit_on_retry_failure: the agent ends");
                bell.end(crate::stop::LOCAL);
                return false;
            }
            let done = self.sheets.iter().all(|sheet| sheet.state == State::Done);
            if once == Once::Yes && (done || self.sheets.iter().any(|sheet| sheet.failures >= ONCE_TRIES)) {
                return done;
            }
            let world = Rc::clone(&self.brain.source.world);
            let lacks = self.brain.source.identity.lock().await.lacks();
            let Some(child) = &mut child else {
                tokio::select! {
                    _ = bell.asked() => return true,
                    () = back.notified() => self.hurry(),
                    () = sinks::appears(lacks) => self.hurry(),
                    () = sleep_until(&world, next) => {}
                }
                continue;
            };
            if done {
                match child.follow(self.variables()).await {
                    Ok(Followed::Restarted) => world.ledger.restarted(),
                    Ok(Followed::Started | Followed::Same) => {}
                    Err(why) => {
                        world.log(Level::Error, &why);
                        bell.end(crate::stop::LOCAL);
                        return false;
                    }
                }
            }
            tokio::select! {
                signal = bell.asked() => {
                    bell.end(child.end(signal).await);
                    return true;
                }
                code = child.ended() => {
                    bell.end(code);
                    return true;
                }
                () = back.notified() => self.hurry(),
                () = sinks::appears(lacks) => self.hurry(),
                () = sleep_until(&world, next) => {}
            }
        }
    }

    /// There is a token again: what failed is due.
    fn hurry(&mut self) {
        self.brain.hurry();
        let now = self.brain.now();
        for sheet in self.sheets.iter_mut().filter(|sheet| sheet.state == State::Due) {
            sheet.again = now;
        }
    }

    /// Does what is due; when to come again.
    async fn round(&mut self) -> Moment {
        self.brain.begin();
        self.see_token().await;
        let (changed, wrong) = self.brain.refresh().await;
        for (query, trouble, failures) in wrong {
            if failures.is_power_of_two() {
                let line = format!("{query}: {}; what was rendered stays", trouble.advised());
                self.log(Level::Warn, &line);
            }
            let matters = self.sheets.iter().any(|sheet| sheet.template.fatal && sheet.used.contains(&query));
            for at in 0..self.sheets.len() {
                if self.sheets.get(at).is_some_and(|sheet| sheet.used.contains(&query)) {
                    self.ledger().template_failed(&self.name(at));
                }
            }
            self.give_up(failures, matters);
        }
        for sheet in self.sheets.iter_mut().filter(|sheet| !sheet.used.is_disjoint(&changed)) {
            sheet.state = State::Due;
        }
        let now = self.brain.now();
        for at in 0..self.sheets.len() {
            if self.sheets.get(at).is_some_and(|sheet| sheet.state == State::Due && sheet.again <= now) {
                self.render(at).await;
            }
        }
        self.tell().await;
        // A login in between gave another token: what is leased to the one before is seen to at once.
        self.see_token().await;
        if self.sheets.iter().all(|sheet| sheet.state != State::Due) {
            let used = self.sheets.iter().flat_map(|sheet| sheet.used.iter().cloned()).collect();
            self.brain.retain(&used);
        }
        self.show();
        let waiting = self.sheets.iter().filter(|sheet| sheet.state != State::Done).map(|sheet| sheet.again);
        let far = self.brain.now().plus(PATIENCE);
        waiting.chain(self.brain.next()).min().unwrap_or(far).min(far)
    }

    async fn see_token(&mut self) {
        let held = self.brain.source.identity.lock().await.held();
        if held.is_some() && held != self.token {
            if self.token.is_some() {
                self.brain.new_token();
            }
            self.token = held;
        }
    }

    async fn render(&mut self, at: usize) {
        for _ in 0..QUESTIONS_MAX {
            let Some(sheet) = self.sheets.get_mut(at) else { return };
            match sheet.template.program.run(&self.brain.known(), self.brain.now()) {
                Run::Done(rendered) => return self.put(at, rendered),
                Run::Failed(why) => {
                    let used = sheet.used.clone();
                    self.brain.doubt(&used);
                    return self.failed(at, &why);
                }
                Run::Wants(query) => {
                    sheet.used.insert(query.clone());
                    let kept = match (&query, &sheet.template.target) {
                        (Query::Certificate(..), Target::File(plan)) => {
                            std::fs::read_to_string(&plan.path).ok()
                        }
                        _ => None,
                    };
                    if let Err(unanswered) = self.brain.need(&query, kept.as_deref()).await {
                        if let Some(trouble) = unanswered.trouble {
                            let name = self.name(at);
                            self.ledger().template_failed(&name);
                            self.say(at, format!("{name} waits for {query}: {}", trouble.advised()));
                        }
                        let fatal = self.sheets.get(at).is_some_and(|sheet| sheet.template.fatal);
                        self.give_up(unanswered.failures, fatal);
                        if let Some(sheet) = self.sheets.get_mut(at) {
                            sheet.again = unanswered.again;
                            sheet.failures = sheet.failures.saturating_add(1);
                        }
                        return;
                    }
                }
            }
        }
        self.failed(at, "it asks for more than 1000 things");
    }

    fn put(&mut self, at: usize, rendered: Rendered) {
        let Some(sheet) = self.sheets.get_mut(at) else { return };
        let pieces = target::put_pieces(&rendered.files);
        let put = match &sheet.template.target {
            Target::File(plan) => pieces.and_then(|pieces| Ok((pieces, plan.put(&rendered.text)?))),
            Target::Variable(_) => pieces.map(|pieces| (pieces, Put::Same)),
        };
        let said = matches!(sheet.template.target, Target::Variable(_))
            && sheet.text.as_ref() != Some(&rendered.text);
        let changed = match put {
            Ok(put) => said || put != (Put::Same, Put::Same),
            Err(why) => return self.failed(at, &why),
        };
        sheet.used = rendered.used;
        sheet.text = Some(rendered.text);
        sheet.failures = 0;
        sheet.repeats.over();
        let commanded = changed && sheet.template.command.is_some();
        sheet.state = if commanded { State::Written } else { State::Done };
        sheet.again = Moment::default();
        if changed {
            let name = self.name(at);
            self.ledger().rendered(&name);
            self.log(Level::Info, &format!("rendered {name}"));
        }
    }

    /// Runs the commands of what is another now; one that several templates share is run once.
    async fn tell(&mut self) {
        let now = self.brain.now();
        let mut done: Vec<(Reload, Result<(), String>)> = Vec::new();
        for at in 0..self.sheets.len() {
            let Some(sheet) =
                self.sheets.get(at).filter(|sheet| sheet.state == State::Written && sheet.again <= now)
            else {
                continue;
            };
            let Some(command) = sheet.template.command.clone() else { continue };
            let earlier =
                done.iter().find(|(known, _)| *known == command).map(|(_, outcome)| outcome.clone());
            let outcome = match earlier {
                Some(outcome) => outcome,
                None => {
                    let outcome = command.run().await;
                    done.push((command, outcome.clone()));
                    outcome
                }
            };
            match outcome {
                Err(why) => self.failed(at, &why),
                Ok(()) => {
                    if let Some(sheet) = self.sheets.get_mut(at) {
                        (sheet.state, sheet.failures) = (State::Done, 0);
                    }
                }
            }
        }
    }

    fn failed(&mut self, at: usize, why: &str) {
        let (now, chance) = (self.brain.now(), self.brain.source.world.chance());
        let name = self.name(at);
        let Some(sheet) = self.sheets.get_mut(at) else { return };
        sheet.failures = sheet.failures.saturating_add(1);
        sheet.again = now.plus(schedule::backoff(sheet.failures, PATIENCE, chance));
        let (failures, fatal) = (sheet.failures, sheet.template.fatal);
        self.ledger().template_failed(&name);
        self.say(at, format!("{name}: {why}"));
        self.give_up(failures, fatal);
    }

    /// Writes down how each template stands.
    fn show(&self) {
        let now = self.brain.now();
        for (at, sheet) in self.sheets.iter().enumerate() {
            let failures = sheet.failures.max(self.brain.failures(&sheet.used));
            if failures > 0 || sheet.state == State::Done {
                self.ledger().show_template(&self.name(at), failures, now);
            }
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.brain.source.world.ledger
    }

    fn give_up(&mut self, failures: u32, fatal: bool) {
        self.failed_for_good |= fatal && self.pace.tries_max.is_some_and(|max| failures > max);
    }

    fn name(&self, at: usize) -> String {
        match self.sheets.get(at).map(|sheet| &sheet.template.target) {
            Some(Target::File(plan)) => plan.path.display().to_string(),
            Some(Target::Variable(name)) => name.clone(),
            None => String::new(),
        }
    }

    /// The environment of the program.
    fn variables(&self) -> Vec<(String, Zeroizing<String>)> {
        let variable = |sheet: &Sheet| match &sheet.template.target {
            Target::Variable(name) => Some((name.clone(), sheet.text.clone()?)),
            Target::File(_) => None,
        };
        self.sheets.iter().filter_map(variable).collect()
    }

    /// Says what is wrong with a template: once, and again at widening intervals.
    fn say(&mut self, at: usize, line: String) {
        let now = self.brain.now();
        let Some(sheet) = self.sheets.get_mut(at) else { return };
        if sheet.repeats.is_news(&line, now) {
            self.log(Level::Warn, &line);
        }
    }

    fn log(&self, level: Level, line: &str) {
        self.brain.source.world.log(level, line);
    }
}

/// Waits for the end of the program, if there is one.
async fn ended(child: &mut Option<Child>) -> u8 {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}
