//! The states of a session and every step between them, as one pure function.
//!
//! ```text
//!                  Connected            Welcome            Refused
//! Disconnected ---------------> Greeting ------> Open ----------------> Mending
//!      ^                                         ^  ^                     |  |
//!      | Lost (from anywhere but Closed)         |  +---- PongResume -----+  | PongEarly
//!      |                                PauseOver|                           v
//!      +---------- Draining <-- GoAway --        +------------------------ Pausing
//!                                                  Fatal: Closed, from anywhere, for good
//! ```

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No connection; one is due at `reconnect_at`.
    Disconnected,
    /// HELLO is sent, HELLO_OK is awaited.
    Greeting,
    /// Frames flow.
    Open,
    /// A frame was refused: a PING is on its way, and what the server said before its PONG
    /// belongs to frames sent before the refusal was known. No frame is sent.
    Mending,
    /// As after mending, but the server asked for time.
    Pausing,
    /// The server is going away: no new frames, answers still come.
    Draining,
    /// Over for good; the last event says why.
    Closed,
}

/// What may happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The owner made a connection.
    Connected,
    /// HELLO_OK came.
    Welcome,
    /// An events frame was refused and can be mended or sent again.
    Refused,
    /// The PONG came before the time the server asked for.
    PongEarly,
    /// The PONG came, and there is nothing to wait for.
    PongResume,
    /// The time the server asked for has passed.
    PauseOver,
    /// GOAWAY came.
    GoAway,
    /// The connection is gone or has lost its meaning.
    Lost,
    /// It cannot go on with any connection.
    Fatal,
}

impl State {
    /// The state after an input.
    pub(crate) const fn after(self, input: Input) -> Self {
        match (input, self) {
            (Input::Fatal, _) | (_, Self::Closed) => Self::Closed,
            (Input::Lost, _) => Self::Disconnected,
            (Input::Connected, _) => Self::Greeting,
            (Input::Welcome, Self::Greeting) => Self::Open,
            // A second HELLO_OK: the peer does not speak this protocol.
            (Input::Welcome, _) => Self::Disconnected,
            // Nothing can be refused or drained before HELLO_OK.
            (Input::Refused | Input::GoAway, Self::Greeting) => Self::Disconnected,
            (Input::Refused, Self::Open | Self::Mending | Self::Pausing) => Self::Mending,
            (Input::GoAway, Self::Open | Self::Mending | Self::Pausing | Self::Draining) => {
                Self::Draining
            }
            (Input::PongEarly, Self::Mending) => Self::Pausing,
            (Input::PongResume, Self::Mending) | (Input::PauseOver, Self::Pausing) => Self::Open,
            (
                Input::Refused
                | Input::GoAway
                | Input::PongEarly
                | Input::PongResume
                | Input::PauseOver,
                _,
            ) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const STATES: [State; 7] = [
        State::Disconnected,
        State::Greeting,
        State::Open,
        State::Mending,
        State::Pausing,
        State::Draining,
        State::Closed,
    ];
    const INPUTS: [Input; 9] = [
        Input::Connected,
        Input::Welcome,
        Input::Refused,
        Input::PongEarly,
        Input::PongResume,
        Input::PauseOver,
        Input::GoAway,
        Input::Lost,
        Input::Fatal,
    ];

    /// Rows are inputs, columns states in the order above; `.` is no change.
    const TABLE: &str = "\
Connected  Greeting     .            Greeting     Greeting     Greeting     Greeting     .
Welcome    .            Open         Disconnected Disconnected Disconnected Disconnected .
Refused    .            Disconnected Mending      .            Mending      .            .
PongEarly  .            .            .            Pausing      .            .            .
PongResume .            .            .            Open         .            .            .
PauseOver  .            .            .            .            Open         .            .
GoAway     .            Disconnected Draining     Draining     Draining     .            .
Lost       .            Disconnected Disconnected Disconnected Disconnected Disconnected .
Fatal      Closed       Closed       Closed       Closed       Closed       Closed       .
";

    #[test]
    fn every_state_answers_every_input_as_the_table_says() {
        let mut table = String::new();
        for input in INPUTS {
            let mut row = format!("{:<11}", format!("{input:?}"));
            for state in STATES {
                let next = state.after(input);
                let cell = if next == state { ".".to_owned() } else { format!("{next:?}") };
                write!(row, "{cell:<13}").unwrap();
            }
            writeln!(table, "{}", row.trim_end()).unwrap();
        }
        println!("{table}");
        assert_eq!(table, TABLE);
    }
}
