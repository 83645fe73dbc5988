/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Forged identity. The name of a file is what the stream that code was compiled from
 * says it opened: a stream wrapper of PHP code says whatever it likes, and php://filter
 * names the file that it makes other code of. Who compiled such code is tainted until
 * its request ends; its sites are {unknown}. Whoever replaces the wrapper of plain files
 * may leave forged code in the opcode cache: there the taint is its whole pool's, until
 * that is started anew.
 *
 * Includes from wrappers that the profile lists do not taint, as long as their code is
 * given a name of that very wrapper: it can be no file's, and has grants of its own.
 */
#ifndef TAINT_BPF_H
#define TAINT_BPF_H

/* In zend_file_handle: what is read from and by what function, what the script asked for, and the bytes that were read. */
enum { HANDLE_STREAM = 0, HANDLE_READER = 16, HANDLE_NAME = 40, HANDLE_BYTES = 64 };
/* In the scanner's globals: the file, and the bytes that are scanned. */
enum { SCANNER_FILE = 0, SCANNER_BYTES = 24 };
/* In the compiler's globals: the name of what is compiled. */
enum { COMPILER_NAME = 32 };
/* In php_stream: its first filter, who opened it, and by what name. */
enum { STREAM_FILTER = 16, STREAM_WRAPPER = 64, STREAM_OPENED = 136 };
/* In the C library's FILE: its descriptor. */
enum { FILE_DESCRIPTOR = 112 };
/* A longer word before `://` is taken for one. */
enum { SCHEME_ROOM = 64, MARK_LEN = 3, TAINT_SCOPE_AT = 8 };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * WRAPPERS_MAX); /* of two generations, and of starts that failed */
	__type(key, struct wrapper_key);
	__type(value, u32);
} wrappers SEC(".maps");

/* By the process in which all of a pool began (struct proc, `pool`). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} tainted_pools SEC(".maps");

/* 1: there is or was one. Nobody else pays for a look-up. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} pools_are_tainted SEC(".maps");

/* What is tainted by it that was not: enum taint_scope. */
static __always_inline u32 taint_pool(struct proc *p)
{
	u32 pool = p->pool, zero = 0, one = 1;
	bool known = bpf_map_lookup_elem(&tainted_pools, &pool);

	bpf_map_update_elem(&pools_are_tainted, &zero, &one, BPF_ANY);
	if (bpf_map_update_elem(&tainted_pools, &pool, &one, BPF_ANY))
		count(STAT_PROCS_FULL);
	if (known)
		return 0;
	count(STAT_TAINT_POOLS);
	return TAINTED_POOL;
}

static __always_inline void pool_begins(u32 pool)
{
	bpf_map_delete_elem(&tainted_pools, &pool);
}

/* The thread's request; where that cannot be marked, more than it. Likewise. */
static __always_inline u32 taint(struct proc *p)
{
	struct task *task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL,
						 BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!task) {
		count(STAT_STORAGE_FAILED);
		return taint_pool(p);
	}
	if (task->taint & TAINT_FORGED)
		return 0;
	task->taint |= TAINT_FORGED;
	count(STAT_TAINT_REQUESTS);
	return TAINTED_REQUEST;
}

/* What makes no taint by itself. */
static __always_inline void note(struct proc *p, u32 what)
{
	struct task *task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL,
						 BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (task) {
		task->taint |= what;
	} else {
		count(STAT_STORAGE_FAILED);
		taint_pool(p); /* fails closed */
	}
}

/* Cause and scope, for who tells it; 0 where there is nothing new. */
static __always_inline u32 tainted_by(u32 cause, u32 scope)
{
	return scope ? cause | scope << TAINT_SCOPE_AT : 0;
}

static __always_inline bool is_tainted(struct task *task, struct proc *p)
{
	u32 zero = 0, pool, *any;

	if (task && (task->taint & TAINT_FORGED))
		return true;
	any = bpf_map_lookup_elem(&pools_are_tainted, &zero);
	if (!any || !*any)
		return false;
	pool = p->pool;
	return bpf_map_lookup_elem(&tainted_pools, &pool);
}

/*
 * Letters, digits, `+-.`: as bits, since the verifier follows both ways of each comparison, for each byte. Which of the
 * upper half are letters is for PHP's locale to say: all of them (fails closed).
 */
static __always_inline bool is_of_scheme(u8 c)
{
	const u64 letters = 0x3ffffff, digits = 0x3ff;
	const u64 below = digits << '0' | 1ULL << '+' | 1ULL << '-' | 1ULL << '.';
	const u64 above = letters << ('A' - 64) | letters << ('a' - 64);

	return c >= 128 || ((c < 64 ? below : above) >> (c & 63) & 1);
}

/* The beginning of a name that a script has asked for. */
struct asked {
	char name[SCHEME_ROOM + 8];
};

/*
 * As PHP finds it: then comes `://`. Its length; 0 where there is none. A global function, so that to the verifier the
 * length is any, and what comes after is not followed for each.
 */
__noinline u32 scheme_of(struct asked *asked)
{
	const char *name;
	u32 i;

	if (!asked)
		return 0;
	name = asked->name;
	for (i = 0; i < SCHEME_ROOM; i++) {
		if (name[i] == ':')
			return i > 1 && name[i + 1] == '/' && name[i + 2] == '/' ? i : 0;
		if (!is_of_scheme(name[i]))
			return 0;
	}
	return SCHEME_ROOM;
}

/* The first four bytes as they are: `FILE` is another wrapper's name, where somebody has registered one. */
static __always_inline u32 word_at(const char *name)
{
	u32 word;

	__builtin_memcpy(&word, name, sizeof(word));
	return word;
}

#define WORD_OF(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

static __always_inline bool is_scheme_of_files(struct asked *asked, u32 len)
{
	return len == 4 && word_at(asked->name) == WORD_OF('f', 'i', 'l', 'e');
}

static __always_inline bool is_scheme_of_archives(struct asked *asked, u32 len)
{
	return len == 4 && word_at(asked->name) == WORD_OF('p', 'h', 'a', 'r');
}

/*
 * `data:` alone needs no slashes to be a scheme. To the opcode cache it is a plain file then: it keeps the code under
 * whatever name the wrapper gave it.
 */
static __always_inline bool is_data_without_slashes(const char *name)
{
	return word_at(name) == WORD_OF('d', 'a', 't', 'a') && name[4] == ':' &&
	       !(name[5] == '/' && name[6] == '/');
}

static __always_inline struct proc *running_php(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc *p = proc_of(tgid);

	return p && p->image ? p : NULL;
}

/* Whether the profile excuses includes of this scheme, spelt exactly so: where it is seen what their code is named. */
static __always_inline bool is_excused(struct image *img, const char *name, u32 len)
{
	struct control *c = control_now();
	struct wrapper_key k = {};

	opaque(len);
	if (!c || len >= WRAPPER_ROOM)
		return false;
	k.generation = c->generation;
	if (bpf_probe_read_kernel(k.scheme, len, name))
		return false;
	return bpf_map_lookup_elem(&wrappers, &k);
}

/* Where what the script asked for is written; 0 where that cannot be told. */
static __always_inline u64 asked_at(struct image *img, u64 handle)
{
	u64 at = 0;

	if (read_user_soon(&at, sizeof(at), handle + HANDLE_NAME) || !at)
		return 0;
	return img->flags & IMAGE_PLAIN_NAMES ? at : at + ZSTR_HEAD;
}

/* False where it cannot be read. */
static __always_inline bool read_asked(struct image *img, u64 handle, struct asked *asked)
{
	u64 at = asked_at(img, handle);

	return at && read_user_str_soon(asked->name, SCHEME_ROOM + 4, at) > 0;
}

/* A file is about to be compiled: zend_file_handle. What that taints, like the others below. */
static __noinline u32 on_compile(u64 handle)
{
	struct proc *p = running_php();
	struct task *task;
	struct image *img;
	struct asked asked = {};
	char *name = asked.name;
	u32 len;

	if (!p)
		return 0;
	img = image_by_id(p->image);
	if (!img || !read_asked(img, handle, &asked))
		return 0; /* on_named fails closed */
	if (is_data_without_slashes(name))
		return tainted_by(TAINTED_BY_STREAM, taint_pool(p) | taint(p));
	len = scheme_of(&asked);
	if (!len)
		return 0;
	if (is_scheme_of_files(&asked, len))
		return 0;
	if (is_excused(img, name, len)) {
		note(p, TAINT_EXCUSED); /* before its code has a name: on_named asks for it */
		return 0;
	}
	task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
	if (is_scheme_of_archives(&asked, len)) {
		/* An archive's own wrapper names the archive; another one, whose code is cached too, what it likes. */
		if (!task || !(task->taint & TAINT_ARCHIVES))
			return 0;
		return tainted_by(TAINTED_BY_ARCHIVE, taint_pool(p) | taint(p));
	}
	return tainted_by(TAINTED_BY_STREAM, taint(p));
}

/* The zend_string begins with the scheme of `asked`, and `://`. What cannot be read does not (fails closed). */
static __always_inline bool begins_with_scheme(u64 zstr, const char *asked, u32 len)
{
	u64 wanted[(WRAPPER_ROOM + 8) / 8] = {}, given[(WRAPPER_ROOM + 8) / 8] = {};
	u32 i, n = len + MARK_LEN;

	opaque(n);
	if (n >= WRAPPER_ROOM + MARK_LEN || bpf_probe_read_kernel(wanted, n, asked) ||
	    read_user_soon(given, n, zstr + ZSTR_HEAD))
		return false;
	for (i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		if (wanted[i] != given[i])
			return false;
	return true;
}

/* As globals_at(), of who runs. */
static __always_inline u64 own_globals(struct proc *p, struct image *img, u64 symbol)
{
	return globals_at(bpf_get_current_task_btf()->thread.fsbase, img, p->bias, symbol);
}

/* The zend_file_handle that is being compiled; NULL for code that comes from none (eval). False: it cannot be told. */
static __always_inline bool compiled_handle(struct proc *p, struct image *img, u64 *handle)
{
	u64 scanner = own_globals(p, img, img->scanner);

	return scanner && !read_user_soon(handle, sizeof(*handle), scanner + SCANNER_FILE);
}

/*
 * What is scanned is what was read: with zend.multibyte, PHP first converts it from whatever encoding the script has set, and
 * a text that is harmless as it is becomes code. What cannot be read is not (fails closed).
 */
static __always_inline bool is_scanned_as_read(struct proc *p, struct image *img, u64 handle)
{
	u64 scanned = 0, read = 0;

	return !read_user_soon(&scanned, sizeof(scanned),
			       own_globals(p, img, img->scanner) + SCANNER_BYTES) &&
	       !read_user_soon(&read, sizeof(read), handle + HANDLE_BYTES) && scanned == read;
}

/* PHP code runs, or it cannot be told. */
static __always_inline bool runs_code(struct proc *p, struct image *img)
{
	u64 eg = own_globals(p, img, img->eg), frame = 1;

	return !eg || read_user_soon(&frame, sizeof(frame), eg + img->current_execute_data) || frame;
}

/* A php_stream, by who reads it. */
static __always_inline bool is_stream(struct proc *p, struct image *img, u64 handle)
{
	u64 reader = 0;

	return !read_user_soon(&reader, sizeof(reader), handle + HANDLE_READER) &&
	       reader == p->bias + img->stream_read;
}

/* The open file of a FILE; NULL where it cannot be told. */
static __always_inline struct file *opened_file(u64 stream)
{
	u32 fd = 0;

	return read_user_soon(&fd, sizeof(fd), stream + FILE_DESCRIPTOR) ? NULL : file_at(fd);
}

struct same_name_loop {
	struct scratch *s;
	u64 name;
};

static long same_name_word(u32 i, struct same_name_loop *l)
{
	u32 off = l->s->path_off + i * 8, rest;
	u64 given = 0, differ;

	if (off >= PATH_ROOM)
		return 1;
	rest = PATH_ROOM - off;
	if (read_user_soon(&given, sizeof(given), l->name + i * 8)) {
		l->s->path_state = 1;
		return 1;
	}
	differ = given ^ *(u64 *)&l->s->path[off & (PATH_ROOM - 1)];
	if (rest < 8)
		differ &= (1ULL << (rest * 8)) - 1;
	if (differ)
		l->s->path_state = 1;
	return differ != 0;
}

/*
 * In the task's mount namespace: elsewhere (/proc/PID/root/...) the same path is another file's. What is unmounted
 * already is in none.
 */
static __always_inline bool is_mounted_here(struct file *f)
{
	void *mnt = BPF_CORE_READ(f, f_path.mnt);
	struct mount *m = mnt - bpf_core_field_offset(struct mount, mnt);
	u64 there = (u64)BPF_CORE_READ(m, mnt_ns);

	return there && there == (u64)BPF_CORE_READ(bpf_get_current_task_btf(), nsproxy, mnt_ns);
}

/* Whether this zend_string is the file's path from the root of its task. */
static __noinline bool is_path_of(struct scratch *s, struct file *f, u64 zstr)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct same_name_loop l = { s, zstr + ZSTR_HEAD };
	u64 len = 0;
	u32 root;

	if (!s)
		return false;
	s->mnt = (u64)BPF_CORE_READ(t, fs, root.mnt);
	s->dentry = (u64)BPF_CORE_READ(t, fs, root.dentry);
	begin_climb(s);
	if (climb_to_root(s) || s->path_off > PATH_ROOM)
		return false;
	root = PATH_ROOM - s->path_off;
	if (path_of_file(s, f) || read_user_soon(&len, sizeof(len), zstr + ZSTR_LEN) || len > PATH_ROOM ||
	    s->path_off + root + len != PATH_ROOM)
		return false;
	s->path_off += root;
	bpf_loop(len / 8 + 1, same_name_word, &l, 0);
	return !s->path_state;
}

/* PHP opens its main script by a path, and finds out later what that means: somebody may have changed that between. */
static __always_inline bool is_named_as_opened(u64 stream, u64 zstr)
{
	struct scratch *s;
	struct file *f;
	char first = 0;
	bool same;

	if (read_user_soon(&first, sizeof(first), zstr + ZSTR_HEAD))
		return false;
	if (first != '/')
		return true; /* standard input, by no file's name */
	f = opened_file(stream);
	s = f && is_mounted_here(f) ? claim_scratch() : NULL;
	if (!s)
		return false; /* fails closed */
	same = is_path_of(s, f, zstr);
	release_scratch(s);
	return same;
}

/*
 * What is compiled are the bytes of a file, which is what PHP was told to open or what that led to, and is so named. What
 * is no stream is a FILE that a SAPI opened as the main script, while no code runs; or an archive.
 */
static __always_inline bool is_plain_file(struct proc *p, struct image *img, u64 handle, u64 zstr)
{
	u64 stream = 0, filter = 1, wrapper = 0;

	if (!p || !img || read_user_soon(&stream, sizeof(stream), handle + HANDLE_STREAM))
		return false;
	if (!is_stream(p, img, handle))
		return !runs_code(p, img) && is_named_as_opened(stream, zstr);
	return !read_user_soon(&filter, sizeof(filter), stream + STREAM_FILTER) && !filter &&
	       !read_user_soon(&wrapper, sizeof(wrapper), stream + STREAM_WRAPPER) &&
	       wrapper == p->bias + img->plain_files;
}

/*
 * By the include path, or relative to code of that wrapper: what was asked for does not tell, what was opened does. It
 * comes into the same room: the stack is short.
 */
static __always_inline bool read_opened(u64 handle, struct asked *opened)
{
	u64 stream = 0, at = 0;

	return !read_user_soon(&stream, sizeof(stream), handle + HANDLE_STREAM) &&
	       !read_user_soon(&at, sizeof(at), stream + STREAM_OPENED) &&
	       read_user_str_soon(opened->name, SCHEME_ROOM + 4, at) > 0;
}

static __always_inline bool is_excused_name(struct image *img, struct asked *asked, u32 len, u64 zstr)
{
	return is_excused(img, asked->name, len) && begins_with_scheme(zstr, asked->name, len);
}

/*
 * PHP has one name for what is being compiled: it is put aside where other code comes in between, and back at the end of that.
 * Where fibers are switched meanwhile, code goes on to be compiled under another one's name. For that the other one must have
 * been put aside for it, or be named, while there is a name, on a stack of its own. Without fibers there is one stack.
 */
static __always_inline bool is_amid_compilation(struct proc *p, struct image *img)
{
	struct task *task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
	u64 compiler, name = 0;

	if (!task || !(task->taint & TAINT_FIBERS))
		return false;
	compiler = own_globals(p, img, img->compiler);
	/* What cannot be read may be one (fails closed). */
	return !compiler || read_user_soon(&name, sizeof(name), compiler + COMPILER_NAME) || name;
}

/*
 * Code that is about to be compiled is given the name of its file, a zend_string: what was
 * asked for, or what the stream says it has opened.
 */
static __noinline u32 on_named(u64 zstr)
{
	struct asked asked = {};
	struct proc *p = running_php();
	struct image *img = p ? image_by_id(p->image) : NULL;
	struct task *task;
	u64 handle = 0;
	u32 len;

	if (!img)
		return 0;
	/* To the opcode cache it is the file that it is named. */
	if (is_amid_compilation(p, img))
		return tainted_by(TAINTED_BY_FIBER, taint_pool(p) | taint(p));
	if (!compiled_handle(p, img, &handle))
		goto forged; /* it cannot be told: fails closed */
	if (!handle)
		return 0;
	if (!read_asked(img, handle, &asked))
		goto forged; /* likewise */
	len = scheme_of(&asked);
	if (!len || is_scheme_of_files(&asked, len)) {
		if (!is_scanned_as_read(p, img, handle))
			return tainted_by(TAINTED_BY_ENCODING, taint_pool(p) | taint(p));
		if (is_plain_file(p, img, handle, zstr))
			return 0;
		len = is_stream(p, img, handle) && read_opened(handle, &asked) ? scheme_of(&asked) : 0;
		if (len && is_excused_name(img, &asked, len, zstr))
			return 0;
		/* To the opcode cache it is the file that it is named. */
		return tainted_by(TAINTED_BY_OPENED, taint_pool(p) | taint(p));
	}
	task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
	if (!task || !(task->taint & TAINT_EXCUSED) || is_scheme_of_archives(&asked, len))
		return 0; /* on_compile has judged it */
	if (is_excused_name(img, &asked, len, zstr))
		return 0;
forged:
	return tainted_by(TAINTED_BY_NAME, taint(p));
}

/* What is compiled will be converted from another encoding: a script says so amid its code, after that was named. */
static __noinline u32 on_converted(u64 encoding)
{
	struct proc *p = running_php();
	struct image *img = p ? image_by_id(p->image) : NULL;
	u64 handle = 0;

	if (!img || !encoding)
		return 0;
	/* What cannot be told may be a file (fails closed). */
	if (compiled_handle(p, img, &handle) && !handle)
		return 0;
	return tainted_by(TAINTED_BY_ENCODING, taint_pool(p) | taint(p));
}

/* What is compiled is put aside, as other code is going to be: a zend_lex_state, of no use here. */
static __noinline u32 on_saved(void)
{
	struct proc *p = running_php();
	struct image *img = p ? image_by_id(p->image) : NULL;

	if (!img || !is_amid_compilation(p, img))
		return 0;
	return tainted_by(TAINTED_BY_FIBER, taint_pool(p) | taint(p));
}

static __noinline u32 on_fiber(void)
{
	struct proc *p = running_php();

	if (p)
		note(p, TAINT_FIBERS);
	return 0;
}

/* A wrapper is about to be taken away, for another one to be put in its place: its name, a zend_string. */
static __noinline u32 on_unregister(u64 zstr)
{
	struct proc *p = running_php();
	char name[8] = {};
	long n;

	if (!p)
		return 0;
	n = read_user_str_soon(name, sizeof(name), zstr + ZSTR_HEAD);
	if (n > 0 && n != 5)
		return 0;
	/* What cannot be read may be it (fails closed). */
	if (n <= 0 || word_at(name) == WORD_OF('f', 'i', 'l', 'e'))
		return tainted_by(TAINTED_BY_FILE_WRAPPER, taint(p) | taint_pool(p));
	if (word_at(name) == WORD_OF('p', 'h', 'a', 'r'))
		note(p, TAINT_ARCHIVES);
	return 0;
}

#endif
