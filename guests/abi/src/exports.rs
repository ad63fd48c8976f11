//! The exports of a program, written by a macro so that programs stay safe code.

/// Exports a program.
///
/// The stages are functions; a program has the ones it names. Without `state`:
/// `observe(&mut Events)`, `observe_text(&Texts, &mut Topics)` and `summarise(&View, Reply) -> Told`.
/// With `state = N` each takes `&mut [u64; N]` first: numbers that survive restarts.
///
/// ```
/// use trend_guest::{Reply, Told, View};
///
/// fn summarise(view: &View<'_>, reply: Reply<'_>) -> Told {
///     let mut line = reply.keep_order();
///     line.number(view.total());
///     line.finish()
/// }
///
/// trend_guest::program! {
///     cap = 2_048;
///     summarise = summarise;
/// }
/// ```
#[macro_export]
macro_rules! program {
    (
        cap = $cap:expr;
        $(observe = $observe:path;)?
        $(observe_text = $observe_text:path;)?
        summarise = $summarise:path;
    ) => {
        $crate::program! { @buffer $cap }
        $($crate::program! { @export observe(buffer) => $crate::Events::run(buffer, $observe) })?
        $($crate::program! {
            @export observe_text(buffer) => $crate::Texts::run(buffer, $observe_text)
        })?
        $crate::program! { @export summarise(buffer) => $crate::View::run(buffer, $summarise) }
    };
    (
        cap = $cap:expr;
        state = $words:expr;
        $(observe = $observe:path;)?
        $(observe_text = $observe_text:path;)?
        summarise = $summarise:path;
    ) => {
        $crate::program! { @buffer $cap }
        $crate::program! { @state $words }
        $($crate::program! {
            @export observe(buffer, state) =>
                $crate::Events::run(buffer, |events: &mut $crate::Events<'_>| {
                    $observe(state, events)
                })
        })?
        $($crate::program! {
            @export observe_text(buffer, state) => $crate::Texts::run(
                buffer,
                |texts: &$crate::Texts<'_>, topics: &mut $crate::Topics<'_>| {
                    $observe_text(state, texts, topics)
                },
            )
        })?
        $crate::program! {
            @export summarise(buffer, state) => $crate::View::run(
                buffer,
                |view: &$crate::View<'_>, reply: $crate::Reply<'_>| $summarise(state, view, reply),
            )
        }
    };
    (@buffer $cap:expr) => {
        #[cfg(target_arch = "wasm32")]
        static TREND_BUFFER: $crate::Buffer<{ $cap }> = $crate::Shared::buffer();

        $crate::program! { @constant trend_abi => $crate::ABI }
        $crate::program! { @constant buf => TREND_BUFFER.address() }
        $crate::program! { @constant cap => $cap }
    };
    (@state $words:expr) => {
        #[cfg(target_arch = "wasm32")]
        static TREND_STATE: $crate::State<{ $words }> = $crate::Shared::state();

        $crate::program! { @constant state => TREND_STATE.address() }
        $crate::program! { @constant state_len => 8 * $words }
    };
    (@constant $name:ident => $value:expr) => {
        const _: () = {
            // SAFETY: the name is that of the ABI, and no other function of a program has it.
            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = stringify!($name))]
            extern "C" fn trend_export() -> usize {
                $value
            }
        };
    };
    (@export $name:ident($buffer:ident $(, $state:ident)?) => $call:expr) => {
        const _: () = {
            // SAFETY: the name is that of the ABI, and no other function of a program has it.
            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = stringify!($name))]
            extern "C" fn trend_export(_count: u32) -> u32 {
                // SAFETY: the host calls one export at a time, and this is the call's only loan.
                let $buffer = unsafe { TREND_BUFFER.lend() };
                $(
                    // SAFETY: as above.
                    let $state = unsafe { TREND_STATE.lend() };
                )?
                $call
            }
        };
    };
}
