;; Decompression of one snappy payload (google/snappy, format_description.txt: the raw format, without framing) from one
;; place of a memory to another. Whatever the bytes are, input is read within [$from, $fromEnd) only, and nothing outside
;; of [$to, $toEnd) is read or written beside it. The two must not overlap.
;;
;; src/engine/snappy-module.ts has the bytes that the WebAssembly Binary Toolkit makes of this file:
;;   npx --package wabt@1.0.39 wat2wasm src/engine/snappy-decode.wat --output=- | base64 --wrap=0
;;
;; Short runs are moved 8 bytes at a time and may write up to 15 bytes too many, which later runs overwrite: only where
;; $toEnd leaves room for that. Lengths are compared with what is left, never sums with an end, so nothing wraps around.
(module
  (import "ringkv" "memory" (memory 0))

  ;; 0, or what is wrong: 1 the length in front, 2 another length than [$to, $toEnd), 3 an element that is cut off,
  ;; 4 an element that goes beyond the end of the output, 5 a copy from before its beginning.
  (func (export "decode")
    (param $from i32) (param $fromEnd i32) (param $to i32) (param $toEnd i32) (result i32)
    (local $begin i32) (local $tag i32) (local $length i32) (local $offset i32)
    (local $shift i32) (local $source i32) (local $end i32)
    (local.set $begin (local.get $to))

    ;; Length of the output: 7 bits a byte, least significant first, at most 5 bytes.
    (block $hasLength
      (loop $byte
        (if (i32.ge_u (local.get $from) (local.get $fromEnd)) (then (return (i32.const 1))))
        (if (i32.gt_u (local.get $shift) (i32.const 28)) (then (return (i32.const 1))))
        (local.set $tag (i32.load8_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $length
          (i32.or (local.get $length) (i32.shl (i32.and (local.get $tag) (i32.const 127)) (local.get $shift))))
        (br_if $hasLength (i32.lt_u (local.get $tag) (i32.const 128)))
        (local.set $shift (i32.add (local.get $shift) (i32.const 7)))
        (br $byte)))
    (if (i32.ne (local.get $length) (i32.sub (local.get $toEnd) (local.get $to))) (then (return (i32.const 2))))

    (block $atEnd
      (loop $element
        (br_if $atEnd (i32.ge_u (local.get $from) (local.get $fromEnd)))
        (local.set $tag (i32.load8_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))

        ;; Tag 0: a literal of 1 to 60 bytes, or its length less 1 in the next 1 to 4 bytes.
        (if (i32.eqz (i32.and (local.get $tag) (i32.const 3)))
          (then
            (local.set $length (i32.add (i32.shr_u (local.get $tag) (i32.const 2)) (i32.const 1)))
            (if (i32.le_u (local.get $length) (i32.const 16))
              (then
                (if (i32.and
                      (i32.ge_u (i32.sub (local.get $fromEnd) (local.get $from)) (i32.const 16))
                      (i32.ge_u (i32.sub (local.get $toEnd) (local.get $to)) (i32.const 16)))
                  (then
                    (i64.store align=1 (local.get $to) (i64.load align=1 (local.get $from)))
                    (i64.store offset=8 align=1 (local.get $to) (i64.load offset=8 align=1 (local.get $from)))
                    (local.set $from (i32.add (local.get $from) (local.get $length)))
                    (local.set $to (i32.add (local.get $to) (local.get $length)))
                    (br $element)))))
            (if (i32.gt_u (local.get $length) (i32.const 60))
              (then
                (local.set $shift (i32.sub (local.get $length) (i32.const 60)))
                (if (i32.lt_u (i32.sub (local.get $fromEnd) (local.get $from)) (local.get $shift))
                  (then (return (i32.const 3))))
                (local.set $length (i32.const 0))
                (local.set $offset (i32.const 0))
                (loop $byte
                  (local.set $length
                    (i32.or (local.get $length) (i32.shl (i32.load8_u (local.get $from)) (local.get $offset))))
                  (local.set $from (i32.add (local.get $from) (i32.const 1)))
                  (local.set $offset (i32.add (local.get $offset) (i32.const 8)))
                  (local.set $shift (i32.sub (local.get $shift) (i32.const 1)))
                  (br_if $byte (local.get $shift)))
                (local.set $length (i32.add (local.get $length) (i32.const 1)))
                (if (i32.eqz (local.get $length)) (then (return (i32.const 4))))))
            (if (i32.gt_u (local.get $length) (i32.sub (local.get $fromEnd) (local.get $from)))
              (then (return (i32.const 3))))
            (if (i32.gt_u (local.get $length) (i32.sub (local.get $toEnd) (local.get $to)))
              (then (return (i32.const 4))))
            (memory.copy (local.get $to) (local.get $from) (local.get $length))
            (local.set $from (i32.add (local.get $from) (local.get $length)))
            (local.set $to (i32.add (local.get $to) (local.get $length)))
            (br $element)))

        ;; Tags 1, 2, 3: a copy of what was written $offset bytes before; 11, 16 or 32 bits of offset.
        (if (i32.eq (i32.and (local.get $tag) (i32.const 3)) (i32.const 1))
          (then
            (if (i32.ge_u (local.get $from) (local.get $fromEnd)) (then (return (i32.const 3))))
            (local.set $length
              (i32.add (i32.and (i32.shr_u (local.get $tag) (i32.const 2)) (i32.const 7)) (i32.const 4)))
            (local.set $offset
              (i32.or
                (i32.shl (i32.shr_u (local.get $tag) (i32.const 5)) (i32.const 8))
                (i32.load8_u (local.get $from))))
            (local.set $from (i32.add (local.get $from) (i32.const 1))))
          (else
            (local.set $length (i32.add (i32.shr_u (local.get $tag) (i32.const 2)) (i32.const 1)))
            (if (i32.eq (i32.and (local.get $tag) (i32.const 3)) (i32.const 2))
              (then
                (if (i32.lt_u (i32.sub (local.get $fromEnd) (local.get $from)) (i32.const 2))
                  (then (return (i32.const 3))))
                (local.set $offset (i32.load16_u align=1 (local.get $from)))
                (local.set $from (i32.add (local.get $from) (i32.const 2))))
              (else
                (if (i32.lt_u (i32.sub (local.get $fromEnd) (local.get $from)) (i32.const 4))
                  (then (return (i32.const 3))))
                (local.set $offset (i32.load align=1 (local.get $from)))
                (local.set $from (i32.add (local.get $from) (i32.const 4)))))))
        (if (i32.gt_u (local.get $length) (i32.sub (local.get $toEnd) (local.get $to)))
          (then (return (i32.const 4))))
        ;; Offset 0 wraps around to the largest number, and is refused with those that are too large.
        (if (i32.ge_u
              (i32.sub (local.get $offset) (i32.const 1))
              (i32.sub (local.get $to) (local.get $begin)))
          (then (return (i32.const 5))))
        (local.set $end (i32.add (local.get $to) (local.get $length)))
        (local.set $source (i32.sub (local.get $to) (local.get $offset)))

        (if (i32.lt_u (i32.sub (local.get $toEnd) (local.get $end)) (i32.const 16))
          (then
            (loop $byte
              (i32.store8 (local.get $to) (i32.load8_u (local.get $source)))
              (local.set $to (i32.add (local.get $to) (i32.const 1)))
              (local.set $source (i32.add (local.get $source) (i32.const 1)))
              (br_if $byte (i32.lt_u (local.get $to) (local.get $end))))
            (br $element)))
        ;; The most frequent: without a loop, JSON decodes a quarter faster.
        (if (i32.and
              (i32.le_u (local.get $length) (i32.const 16))
              (i32.ge_u (local.get $offset) (i32.const 8)))
          (then
            (i64.store align=1 (local.get $to) (i64.load align=1 (local.get $source)))
            (i64.store offset=8 align=1 (local.get $to) (i64.load offset=8 align=1 (local.get $source)))
            (local.set $to (local.get $end))
            (br $element)))
        ;; A pattern of less than 8 bytes repeats: each round doubles what there is of it.
        (block $isWide
          (loop $pattern
            (br_if $isWide (i32.ge_u (local.get $offset) (i32.const 8)))
            (i64.store align=1 (local.get $to) (i64.load align=1 (local.get $source)))
            (local.set $to (i32.add (local.get $to) (local.get $offset)))
            (local.set $offset (i32.shl (local.get $offset) (i32.const 1)))
            (br $pattern)))
        (block $isCopied
          (loop $eight
            (br_if $isCopied (i32.ge_u (local.get $to) (local.get $end)))
            (i64.store align=1 (local.get $to) (i64.load align=1 (local.get $source)))
            (local.set $to (i32.add (local.get $to) (i32.const 8)))
            (local.set $source (i32.add (local.get $source) (i32.const 8)))
            (br $eight)))
        (local.set $to (local.get $end))
        (br $element)))
    (if (i32.ne (local.get $to) (local.get $toEnd)) (then (return (i32.const 2))))
    (i32.const 0)))
