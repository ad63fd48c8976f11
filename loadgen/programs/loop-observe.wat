;; Hostile: its event stage never ends, and neither does its summary.
(module
  (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) (i32.const 1))
  (func (export "buf") (result i32) (i32.const 0))
  (func (export "cap") (result i32) (i32.const 8192))
  (func $spin (param i32) (result i32)
    (loop $for_ever (br $for_ever))
    (unreachable))
  (export "observe" (func $spin))
  (export "summarise" (func $spin)))
