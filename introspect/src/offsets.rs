//! Where the engine's structures keep what a stack walker reads, by API number.

/// Offsets in bytes into structures of the engine, and the values of flags, for one minor version on x86-64.
/// The same for NTS and TS builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// `zend_executor_globals.current_execute_data`, a pointer.
    pub eg_current_execute_data: u16,

    /// `zend_execute_data.opline`, a pointer.
    pub ed_opline: u16,
    /// `zend_execute_data.func`, a pointer.
    pub ed_func: u16,
    /// `zend_execute_data.This`, a zval.
    pub ed_this: u16,
    /// `ZEND_CALL_INFO(zend_execute_data)`, 4 bytes.
    pub ed_call_info: u16,
    /// `ZEND_CALL_NUM_ARGS(zend_execute_data)`, 4 bytes.
    pub ed_num_args: u16,
    /// `zend_execute_data.prev_execute_data`, a pointer.
    pub ed_prev: u16,
    /// Bytes of a `zend_execute_data` that hold all of the above.
    pub ed_size: u16,

    /// `zend_function.type`, 1 byte.
    pub func_type: u16,
    /// `zend_function.common.fn_flags`, 4 bytes.
    pub func_flags: u16,
    /// `zend_function.common.function_name`, a `zend_string` pointer or NULL.
    pub func_name: u16,
    /// `zend_function.common.scope`, a `zend_class_entry` pointer or NULL.
    pub func_scope: u16,
    /// `zend_op_array.last`, the number of opcodes, 4 bytes.
    pub op_array_last: u16,
    /// `zend_op_array.opcodes`, a pointer.
    pub op_array_opcodes: u16,
    /// `zend_op_array.filename`, a `zend_string` pointer.
    pub op_array_filename: u16,
    /// `zend_op_array.line_start`, 4 bytes.
    pub op_array_line_start: u16,
    /// `zend_internal_function.handler`, a pointer.
    pub internal_handler: u16,
    /// `zend_internal_function.module`, a pointer; NULL for functions that no module made.
    pub internal_module: u16,

    /// `zend_class_entry.name`, a `zend_string` pointer.
    pub class_name: u16,

    /// `zend_string.h`, 8 bytes; 0 if not computed.
    pub string_hash: u16,
    /// `zend_string.len`, 8 bytes.
    pub string_len: u16,
    /// `zend_string.val`, `len` bytes and a NUL.
    pub string_val: u16,

    /// `zend_op.lineno`, 4 bytes.
    pub op_lineno: u16,
    /// `sizeof(zend_op)`.
    pub op_size: u16,

    /// `sapi_globals.request_info.path_translated`, a NUL-terminated string or NULL.
    pub sapi_path_translated: u16,
    /// `php_file_globals.stream_wrappers`, a pointer, NULL unless the request touched the wrappers (NTS).
    pub file_globals_stream_wrappers: u16,

    /// `ZEND_INTERNAL_FUNCTION`, a value of `zend_function.type`.
    pub type_internal: u8,
    /// `ZEND_USER_FUNCTION`.
    pub type_user: u8,
    /// `ZEND_EVAL_CODE`.
    pub type_eval: u8,
    /// `ZEND_CALL_CODE`, a bit of the call info.
    pub call_code: u32,
    /// `ZEND_CALL_TOP`, a bit of the call info.
    pub call_top: u32,
    /// `ZEND_ACC_CALL_VIA_TRAMPOLINE`, a bit of the function flags.
    pub acc_call_via_trampoline: u32,
    /// `ZEND_ACC_CLOSURE`, a bit of the function flags.
    pub acc_closure: u32,
    /// `ZEND_ACC_FAKE_CLOSURE`, a bit of the function flags.
    pub acc_fake_closure: u32,
}

/// A minor version of PHP: (major, minor), e.g. (8, 2). Orders as versions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor(
    /// The major version.
    pub u8,
    /// The minor version.
    pub u8,
);

impl std::fmt::Display for Minor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What no version from 7.4 to 8.5 changes, with the rest as in 8.4.
const BASE: Offsets = Offsets {
    eg_current_execute_data: 488,
    ed_opline: 0,
    ed_func: 24,
    ed_this: 32,
    ed_call_info: 40,
    ed_num_args: 44,
    ed_prev: 48,
    ed_size: 56,
    func_type: 0,
    func_flags: 4,
    func_name: 8,
    func_scope: 16,
    op_array_last: 96,
    op_array_opcodes: 104,
    op_array_filename: 168,
    op_array_line_start: 176,
    internal_handler: 88,
    internal_module: 96,
    class_name: 8,
    string_hash: 8,
    string_len: 16,
    string_val: 24,
    op_lineno: 24,
    op_size: 32,
    sapi_path_translated: 40,
    file_globals_stream_wrappers: 64,
    type_internal: 1,
    type_user: 2,
    type_eval: 4,
    call_code: 1 << 16,
    call_top: 1 << 17,
    acc_call_via_trampoline: 1 << 18,
    acc_closure: 1 << 22,
    acc_fake_closure: 1 << 23,
};

const PHP_7_4: Offsets = Offsets {
    op_array_last: 60,
    op_array_opcodes: 64,
    op_array_filename: 136,
    op_array_line_start: 144,
    internal_handler: 48,
    internal_module: 56,
    acc_closure: 1 << 20,
    acc_fake_closure: 1 << 21,
    ..BASE
};
const PHP_8_0: Offsets = Offsets {
    op_array_last: 68,
    op_array_opcodes: 72,
    op_array_filename: 144,
    op_array_line_start: 152,
    internal_handler: 56,
    internal_module: 64,
    ..BASE
};
const PHP_8_2: Offsets = Offsets {
    op_array_last: 80,
    op_array_opcodes: 88,
    op_array_filename: 152,
    op_array_line_start: 160,
    internal_handler: 72,
    internal_module: 80,
    ..BASE
};
const PHP_8_3: Offsets = Offsets {
    op_array_last: 76,
    op_array_opcodes: 80,
    op_array_filename: 144,
    op_array_line_start: 152,
    internal_handler: 72,
    internal_module: 80,
    ..BASE
};
const PHP_8_5: Offsets = Offsets { eg_current_execute_data: 512, ..BASE };

/// Every known build: `ZEND_MODULE_API_NO`, minor version, offsets.
pub const KNOWN: [(u32, Minor, Offsets); 7] = [
    (20_190_902, Minor(7, 4), PHP_7_4),
    (20_200_930, Minor(8, 0), PHP_8_0),
    (20_210_902, Minor(8, 1), PHP_8_0),
    (20_220_829, Minor(8, 2), PHP_8_2),
    (20_230_831, Minor(8, 3), PHP_8_3),
    (20_240_924, Minor(8, 4), BASE),
    (20_250_925, Minor(8, 5), PHP_8_5),
];

/// Looks up a `ZEND_MODULE_API_NO`; `None` for versions before 7.4, after 8.5 and for development snapshots.
pub fn by_api(api: u32) -> Option<(Minor, Offsets)> {
    KNOWN.iter().find(|(known, ..)| *known == api).map(|(_, minor, offsets)| (*minor, *offsets))
}
