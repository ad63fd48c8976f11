;; Hostile and never at fault: every call takes most of the fuel it may have.
(module
  (memory (export "memory") 1 1)
  (func (export "trend_abi") (result i32) (i32.const 1))
  (func (export "buf") (result i32) (i32.const 0))
  (func (export "cap") (result i32) (i32.const 8192))
  (func $burn
    (local $left i32)
    (local.set $left (i32.const 29000))
    (loop $next
      (br_if $next
        (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
  (func (export "observe") (param $n i32) (result i32) (call $burn) (local.get $n))
  (func (export "summarise") (param i32) (result i32) (call $burn) (i32.const 0)))
