//! A whole frame as one value: the body read by its kind.

use crate::events::{Events, EventsNamed};
use crate::header::{Header, Kind};
use crate::hello::{Hello, HelloOk};
use crate::malformed::Malformed;
use crate::names::{Define, Need};
use crate::reply::{Ack, GoAway, Ping, Refuse};
use crate::summary::{Query, Subscribe, Summary};
use crate::texts::TextEvents;

/// A frame, borrowed from the received bytes.
#[derive(Debug)]
pub enum Frame<'a> {
    /// See [`Kind::Hello`].
    Hello(Hello<'a>),
    /// See [`Kind::HelloOk`].
    HelloOk(HelloOk<'a>),
    /// See [`Kind::Events`].
    Events(Events<'a>),
    /// See [`Kind::EventsNamed`].
    EventsNamed(EventsNamed<'a>),
    /// See [`Kind::Define`].
    Define(Define<'a>),
    /// See [`Kind::Need`].
    Need(Need<'a>),
    /// See [`Kind::Ack`].
    Ack(&'a Ack),
    /// See [`Kind::Refuse`].
    Refuse(Refuse<'a>),
    /// See [`Kind::Query`].
    Query(&'a Query),
    /// See [`Kind::Summary`].
    Summary(Summary<'a>),
    /// See [`Kind::Subscribe`].
    Subscribe(&'a Subscribe),
    /// See [`Kind::Update`].
    Update(Summary<'a>),
    /// See [`Kind::Ping`].
    Ping(&'a Ping),
    /// See [`Kind::Pong`].
    Pong(&'a Ping),
    /// See [`Kind::GoAway`].
    GoAway(GoAway<'a>),
    /// See [`Kind::Text`].
    Text(TextEvents<'a>),
}

impl<'a> Frame<'a> {
    /// Checks the body against the header and reads it.
    ///
    /// # Errors
    /// What is wrong and where; nothing of a malformed frame may be applied.
    pub fn parse(header: &Header, body: &'a [u8]) -> Result<Self, Malformed> {
        Ok(match header.check(body)? {
            Kind::Hello => Self::Hello(Hello::parse(body)?),
            Kind::HelloOk => Self::HelloOk(HelloOk::parse(body)?),
            Kind::Events => Self::Events(Events::parse(body)?),
            Kind::EventsNamed => Self::EventsNamed(EventsNamed::parse(body)?),
            Kind::Define => Self::Define(Define::parse(body)?),
            Kind::Need => Self::Need(Need::parse(body)?),
            Kind::Ack => Self::Ack(Ack::parse(body)?),
            Kind::Refuse => Self::Refuse(Refuse::parse(body)?),
            Kind::Query => Self::Query(Query::parse(body)?),
            Kind::Summary => Self::Summary(Summary::parse(body)?),
            Kind::Subscribe => Self::Subscribe(Subscribe::parse(body)?),
            Kind::Update => Self::Update(Summary::parse(body)?),
            Kind::Ping => Self::Ping(Ping::parse(body)?),
            Kind::Pong => Self::Pong(Ping::parse(body)?),
            Kind::GoAway => Self::GoAway(GoAway::parse(body)?),
            Kind::Text => Self::Text(TextEvents::parse(body)?),
        })
    }
}
