//! The shards behind the mailboxes, and programs without a compiler.

use super::*;

/// A shard that counts weights, exactly and for ever.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) shard: usize,
    pub(super) tenants: BTreeMap<Box<str>, BTreeMap<Box<str>, u64>>,
    pub(super) marks: HashMap<u64, u64>,
    pub(super) held: Vec<DeskMail>,
    pub(super) programs: HashMap<TenantId, Box<str>>,
}

impl Fake {
    pub(super) fn run(mut self, mails: &flume::Receiver<DeskMail>) {
        while let Ok(mail) = mails.recv() {
            match mail {
                DeskMail::Query(query) if &*query.name == "silent" => {
                    self.held.push(DeskMail::Query(query));
                }
                DeskMail::Query(query) => {
                    let answer = self.answer(&query);
                    let _ = query.reply.send(answer);
                }
                DeskMail::Ingest(ingest) => self.ingest(ingest),
                DeskMail::Tenants(ask) => {
                    let lines = self
                        .tenants
                        .iter()
                        .filter(|(name, _)| name.starts_with(&*ask.prefix) && ***name > *ask.after);
                    let lines = lines.take(ask.limit.into()).map(|(name, topics)| TenantLine {
                        tenant: name.clone(),
                        total: topics.values().sum(),
                        events: 0,
                        topics: topics.len() as u64,
                        shard: self.shard,
                        program: None,
                    });
                    let _ = ask.reply.send(lines.collect());
                }
                DeskMail::Stats(reply) => {
                    let _ = reply.send(self.stats());
                }
                DeskMail::Latency(reply) => drop(reply.send(Vec::new())),
                DeskMail::Program(mail) => self.program(mail),
            }
        }
    }

    fn ingest(&mut self, ingest: IngestMail) {
        let events = u32::try_from(ingest.records.len() + ingest.texts.len()).unwrap();
        let name = |kind: NameKind, id: u64| {
            let mut names = ingest.names.iter();
            names.find(|n| (n.kind, n.id) == (kind, id)).unwrap().name.clone()
        };
        if ingest.names.iter().any(|n| n.kind == NameKind::Tenant && &*n.name == "full") {
            let _ = ingest.reply.send(Err(Refused {
                code: Refusal::TenantsFull,
                message: "no room".into(),
                retry_after_ms: Some(1_500),
            }));
            return;
        }
        let mut done = Ingested::default();
        if let Some(mark) = ingest.mark {
            let next = self.marks.entry(mark.producer).or_default();
            if mark.seq < *next {
                done.duplicates = events;
                let _ = ingest.reply.send(Ok(done));
                return;
            }
            *next = mark.seq + 1;
        }
        for (record, &line) in ingest.records.iter().zip(&ingest.lines) {
            let topic = name(NameKind::Topic, record.topic().0);
            if &*topic == "collide" {
                let code = Refusal::IdCollision;
                done.rejected.push(Rejected { line, code, message: "taken".into() });
                continue;
            }
            let topics = self.tenants.entry(name(NameKind::Tenant, record.tenant().0)).or_default();
            *topics.entry(topic).or_default() += u64::from(record.weight());
            done.accepted += 1;
        }
        // This shard's programs take the whole text for the topic.
        for text in &ingest.texts {
            let topics = self.tenants.entry(name(NameKind::Tenant, text.tenant.0)).or_default();
            *topics.entry(text.text.clone()).or_default() += u64::from(text.weight);
            done.accepted += 1;
        }
        let _ = ingest.reply.send(Ok(done));
    }

    fn answer(&self, query: &QueryMail) -> Result<Answer, Refused> {
        let topics = self.tenants.get(&query.name).ok_or_else(|| Refused {
            code: Refusal::UnknownTenant,
            message: format!("no tenant {:?}", query.name),
            retry_after_ms: None,
        })?;
        let mut lines: Vec<TopicLine> = topics
            .iter()
            .map(|(topic, &count)| TopicLine {
                topic: topic.clone(),
                count,
                low: count,
                high: count,
                velocity: Milli(-1_234),
                score: Milli(500),
                trend: Trend::Rising,
                sample: None,
            })
            .collect();
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.topic.cmp(&b.topic)));
        lines.truncate(query.k.into());
        Ok(Answer {
            tenant: query.name.clone(),
            as_of_ms: query.at_ms.unwrap_or(7),
            window_ms: 60_000,
            slide_ms: 1_000,
            version: 1,
            total: topics.values().sum(),
            events: 0,
            distinct: topics.len() as u64,
            distinct_exact: true,
            exact: true,
            certified: true,
            error_bound: 0,
            late: 0,
            dropped: 0,
            shed: 0,
            topics: lines,
            tldr: None,
            program: None,
            program_fault: None,
        })
    }

    /// Assigns what it is told, and counts one call for each tenant.
    fn program(&mut self, mail: ProgramMail) {
        match mail {
            ProgramMail::Install { reply, .. } | ProgramMail::Remove { reply, .. } => {
                let _ = reply.send(Ok(()));
            }
            ProgramMail::Assign { tenant, program, reply } => {
                match program {
                    Some(program) => self.programs.insert(tenant, program),
                    None => self.programs.remove(&tenant),
                };
                let _ = reply.send(Ok(()));
            }
            ProgramMail::Status { tenant, reply } => {
                let program = self.programs.get(&tenant).cloned();
                let _ = reply.send(TenantProgram {
                    program: program.unwrap_or_else(|| "trending".into()),
                    state: ProgramState::Running,
                    faults: 2,
                    last_error: Some("no fuel left".into()),
                    retry_at_ms: None,
                    calls: 1,
                    fuel_used: 3,
                });
            }
            ProgramMail::List { reply } => {
                let line = |name: Box<str>| ProgramLine {
                    name,
                    hash: [0; 32],
                    assigned: 1,
                    is_default: false,
                    instances: 1,
                    calls: 1,
                    faults: 2,
                    fuel_used: 3,
                };
                let _ = reply.send(self.programs.values().cloned().map(line).collect());
            }
        }
    }

    fn stats(&self) -> ShardStats {
        ShardStats {
            shard: self.shard,
            address: Some("127.0.0.1:7180".parse().unwrap()),
            core: None,
            vnodes: 2_048,
            counters: vec![Counter { name: "events_applied", help: "Events counted", value: 41 }],
            levels: vec![Level {
                name: "tenants",
                help: "Tenants with a window",
                now: self.tenants.len() as u64,
                max: 50,
                high_water: 9,
            }],
            refused: vec![(Refusal::Future, 3)],
        }
    }
}

/// A library without engines: whatever `cat` makes of a module passes for its artefact, and a
/// module that begins with "bad" is rejected.
pub(super) fn library() -> Library {
    let script = r#"wasm=$(cat)
case $wasm in bad*) echo '{"message":"no memory (at byte 7)"}' >&2; exit 3;; esac
printf %s "$wasm""#;
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    let time_max = Duration::from_secs(30);
    let recipe = Recipe { program: "/bin/sh".into(), arguments, time_max };
    let builder = Builder::new(Compiler::new(recipe), None);
    Library::new(builder, Vec::new(), Some(ProgramName::trending()), 2)
}
