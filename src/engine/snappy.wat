;; Snappy payloads (google/snappy, format_description.txt: the raw format, without framing), from one place of a memory to
;; another. Decompression: whatever the bytes are, input is read within [$from, $fromEnd) only, and nothing outside
;; of [$to, $toEnd) is read or written beside it. The two must not overlap.
;;
;; src/engine/snappy-module.ts has the bytes that the WebAssembly Binary Toolkit makes of this file: after a change run
;;   npm run build:snappy
;; A test compares the two (test/engine/snappy-module.test.ts).
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
    (i32.const 0))

  ;; A literal of $length bytes from $from; where the next element goes. Up to 15 bytes too many are written behind it.
  (func $literal (param $to i32) (param $from i32) (param $length i32) (result i32)
    (if (i32.le_u (local.get $length) (i32.const 60))
      (then
        (i32.store8 (local.get $to) (i32.shl (i32.sub (local.get $length) (i32.const 1)) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 1))))
      (else
        (if (i32.le_u (local.get $length) (i32.const 256))
          (then
            (i32.store8 (local.get $to) (i32.const 240))
            (i32.store8 offset=1 (local.get $to) (i32.sub (local.get $length) (i32.const 1)))
            (local.set $to (i32.add (local.get $to) (i32.const 2))))
          (else
            (i32.store8 (local.get $to) (i32.const 244))
            (i32.store16 offset=1 align=1 (local.get $to) (i32.sub (local.get $length) (i32.const 1)))
            (local.set $to (i32.add (local.get $to) (i32.const 3)))))))
    (if (i32.le_u (local.get $length) (i32.const 16))
      (then
        (i64.store align=1 (local.get $to) (i64.load align=1 (local.get $from)))
        (i64.store offset=8 align=1 (local.get $to) (i64.load offset=8 align=1 (local.get $from))))
      (else (memory.copy (local.get $to) (local.get $from) (local.get $length))))
    (i32.add (local.get $to) (local.get $length)))

  ;; Compresses [$from, $fromEnd) to $to; where the output ends, at most 32 + n + n / 6 bytes from there, and 15 more are
  ;; written. Up to 15 bytes behind $fromEnd are read, and do not count. $table is 32 KiB that may be overwritten: where a
  ;; hash of 4 bytes was seen last, counted from the beginning of the fragment. The bytes are those of the snappy package.
  (func (export "encode")
    (param $from i32) (param $fromEnd i32) (param $to i32) (param $table i32) (result i32)
    (local $begin i32) (local $end i32) (local $limit i32) (local $pending i32) (local $shift i32) (local $size i32)
    (local $at i32) (local $next i32) (local $hash i32) (local $nextHash i32) (local $skip i32)
    (local $candidate i32) (local $offset i32) (local $length i32) (local $match i32) (local $difference i64)

    (local.set $length (i32.sub (local.get $fromEnd) (local.get $from)))
    (block $isWritten
      (loop $byte
        (i32.store8 (local.get $to)
          (i32.or (local.get $length) (i32.shl (i32.gt_u (local.get $length) (i32.const 127)) (i32.const 7))))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br_if $isWritten (i32.le_u (local.get $length) (i32.const 127)))
        (local.set $length (i32.shr_u (local.get $length) (i32.const 7)))
        (br $byte)))

    ;; Fragments of 64 KiB, so that offsets fit 16 bits.
    (loop $fragment
      (if (i32.ge_u (local.get $from) (local.get $fromEnd)) (then (return (local.get $to))))
      (local.set $begin (local.get $from))
      (local.set $pending (local.get $begin))
      (local.set $length (i32.sub (local.get $fromEnd) (local.get $begin)))
      (if (i32.gt_u (local.get $length) (i32.const 65536)) (then (local.set $length (i32.const 65536))))
      (local.set $end (i32.add (local.get $begin) (local.get $length)))
      (local.set $from (local.get $end))
      (block $atEnd
        (br_if $atEnd (i32.lt_u (local.get $length) (i32.const 17)))
        ;; A table of 256 to 16384 entries, at least as many as there are bytes.
        (local.set $size (i32.const 256))
        (local.set $shift (i32.const 24))
        (block $isLarge
          (loop $double
            (br_if $isLarge
              (i32.or
                (i32.ge_u (local.get $size) (i32.const 16384))
                (i32.ge_u (local.get $size) (local.get $length))))
            (local.set $size (i32.shl (local.get $size) (i32.const 1)))
            (local.set $shift (i32.sub (local.get $shift) (i32.const 1)))
            (br $double)))
        (memory.fill (local.get $table) (i32.const 0) (i32.shl (local.get $size) (i32.const 1)))
        (local.set $limit (i32.sub (local.get $end) (i32.const 15)))
        (local.set $at (i32.add (local.get $begin) (i32.const 1)))
        (local.set $nextHash (i32.shr_u (i32.mul (i32.load align=1 (local.get $at)) (i32.const 0x1e35a7bd)) (local.get $shift)))
        (loop $search
          ;; Where nothing is found for long, ever fewer places are looked at.
          (local.set $skip (i32.const 32))
          (local.set $next (local.get $at))
          (loop $probe
            (local.set $at (local.get $next))
            (local.set $hash (i32.add (local.get $table) (i32.shl (local.get $nextHash) (i32.const 1))))
            (local.set $next (i32.add (local.get $at) (i32.shr_u (local.get $skip) (i32.const 5))))
            (local.set $skip (i32.add (local.get $skip) (i32.shr_u (local.get $skip) (i32.const 5))))
            (br_if $atEnd (i32.gt_u (local.get $next) (local.get $limit)))
            (local.set $nextHash (i32.shr_u (i32.mul (i32.load align=1 (local.get $next)) (i32.const 0x1e35a7bd)) (local.get $shift)))
            (local.set $candidate (i32.add (local.get $begin) (i32.load16_u (local.get $hash))))
            (i32.store16 (local.get $hash) (i32.sub (local.get $at) (local.get $begin)))
            (br_if $probe (i32.ne (i32.load align=1 (local.get $at)) (i32.load align=1 (local.get $candidate)))))
          (local.set $to
            (call $literal (local.get $to) (local.get $pending) (i32.sub (local.get $at) (local.get $pending))))
          (loop $copies
            (local.set $offset (i32.sub (local.get $at) (local.get $candidate)))
            (local.set $match (i32.add (local.get $at) (i32.const 4)))
            (local.set $candidate (i32.add (local.get $candidate) (i32.const 4)))
            (block $differs
              (loop $eight
                (if (i32.ge_u (i32.sub (local.get $end) (local.get $match)) (i32.const 8))
                  (then
                    (local.set $difference
                      (i64.xor
                        (i64.load align=1 (local.get $match))
                        (i64.load align=1 (local.get $candidate))))
                    (if (i64.ne (local.get $difference) (i64.const 0))
                      (then
                        (local.set $match
                          (i32.add
                            (local.get $match)
                            (i32.wrap_i64 (i64.shr_u (i64.ctz (local.get $difference)) (i64.const 3)))))
                        (br $differs)))
                    (local.set $match (i32.add (local.get $match) (i32.const 8)))
                    (local.set $candidate (i32.add (local.get $candidate) (i32.const 8)))
                    (br $eight))))
              (loop $one
                (br_if $differs (i32.ge_u (local.get $match) (local.get $end)))
                (br_if $differs (i32.ne (i32.load8_u (local.get $match)) (i32.load8_u (local.get $candidate))))
                (local.set $match (i32.add (local.get $match) (i32.const 1)))
                (local.set $candidate (i32.add (local.get $candidate) (i32.const 1)))
                (br $one)))
            (local.set $length (i32.sub (local.get $match) (local.get $at)))
            (local.set $at (local.get $match))
            ;; Copies of 64 bytes, and never less than 4 for the last.
            (block $isShort
              (loop $long
                (br_if $isShort (i32.lt_u (local.get $length) (i32.const 68)))
                (i32.store8 (local.get $to) (i32.const 254))
                (i32.store16 offset=1 align=1 (local.get $to) (local.get $offset))
                (local.set $to (i32.add (local.get $to) (i32.const 3)))
                (local.set $length (i32.sub (local.get $length) (i32.const 64)))
                (br $long)))
            (if (i32.gt_u (local.get $length) (i32.const 64))
              (then
                (i32.store8 (local.get $to) (i32.const 238))
                (i32.store16 offset=1 align=1 (local.get $to) (local.get $offset))
                (local.set $to (i32.add (local.get $to) (i32.const 3)))
                (local.set $length (i32.sub (local.get $length) (i32.const 60)))))
            (if (i32.and
                  (i32.lt_u (local.get $length) (i32.const 12))
                  (i32.lt_u (local.get $offset) (i32.const 2048)))
              (then
                (i32.store8 (local.get $to)
                  (i32.or
                    (i32.or (i32.shl (i32.shr_u (local.get $offset) (i32.const 8)) (i32.const 5)) (i32.const 1))
                    (i32.shl (i32.sub (local.get $length) (i32.const 4)) (i32.const 2))))
                (i32.store8 offset=1 (local.get $to) (local.get $offset))
                (local.set $to (i32.add (local.get $to) (i32.const 2))))
              (else
                (i32.store8 (local.get $to)
                  (i32.or (i32.shl (i32.sub (local.get $length) (i32.const 1)) (i32.const 2)) (i32.const 2)))
                (i32.store16 offset=1 align=1 (local.get $to) (local.get $offset))
                (local.set $to (i32.add (local.get $to) (i32.const 3)))))
            (local.set $pending (local.get $at))
            (br_if $atEnd (i32.ge_u (local.get $at) (local.get $limit)))
            (local.set $next (i32.sub (local.get $at) (i32.const 1)))
            (i32.store16
              (i32.add (local.get $table) (i32.shl (i32.shr_u (i32.mul (i32.load align=1 (local.get $next)) (i32.const 0x1e35a7bd)) (local.get $shift)) (i32.const 1)))
              (i32.sub (local.get $next) (local.get $begin)))
            (local.set $hash (i32.add (local.get $table) (i32.shl (i32.shr_u (i32.mul (i32.load align=1 (local.get $at)) (i32.const 0x1e35a7bd)) (local.get $shift)) (i32.const 1))))
            (local.set $candidate (i32.add (local.get $begin) (i32.load16_u (local.get $hash))))
            (i32.store16 (local.get $hash) (i32.sub (local.get $at) (local.get $begin)))
            (br_if $copies (i32.eq (i32.load align=1 (local.get $at)) (i32.load align=1 (local.get $candidate)))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $nextHash (i32.shr_u (i32.mul (i32.load align=1 (local.get $at)) (i32.const 0x1e35a7bd)) (local.get $shift)))
          (br $search)))
      (if (i32.lt_u (local.get $pending) (local.get $end))
        (then
          (local.set $to
            (call $literal (local.get $to) (local.get $pending) (i32.sub (local.get $end) (local.get $pending))))))
      (br $fragment))
    (unreachable)))
