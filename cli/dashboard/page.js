// SPDX-License-Identifier: MIT
//
// The dashboard. It asks the API through `netctl dashboard`, with a session that the link in its
// address was traded for, and ends when that command ends.
//
// What comes from a guest (names above all) is put on the page as text, never as markup; the page's
// policy forbids the browser to do otherwise. A guest also chooses when a refusal comes: so rows do
// not move while somebody points at them, and the button says all of the rule that it makes.
'use strict';

const SAMPLES = 120;        // seconds of the chart
const VMS_A_SECOND = 40;    // asked for counters; of more VMs each is asked more rarely
const REFUSALS_MAX = 200;
const FLOWS_SHOWN = 300;
const FLOWS_VMS_MAX = 20;   // whose flows are asked for when all are to be shown
const LINE_MAX = 1 << 20;
const LATE_MS = 3000;       // refusals of before an allow rule may be told so long after it
const EDIT_TRIES = 64;      // to change a policy that others change, too
const MISSES_MAX = 3;       // then the command has ended

const $ = (id) => document.getElementById(id);

const page = {
	session: null,
	ended: false,
	misses: 0,
	vms: new Map(),         // name → VM
	selected: null,         // a VM's name; null: all
	refusals: new Map(),    // key → row, as they came
	flows: [],
	sort: {key: 'rate', down: true},
	since: 0,               // the last event's id
	turn: 0,
	editing: new Map(),     // VM → the change of its policy that is under way
};

// ---- texts ----

// Text of a guest's with nothing in it that could not be seen: a letter of another direction would
// turn what stands beside it round.
function clean(text) {
	return String(text).replace(/[^\x20-\x7e]/gu,
		(c) => '\\u{' + c.codePointAt(0).toString(16) + '}');
}

function scaled(n, units) {
	let i = 0;
	for (; n >= 1000 && i < units.length - 1; i++)
		n /= 1000;
	return (n >= 100 || i === 0 ? n.toFixed(0) : n.toFixed(1).replace('.0', '')) + ' ' + units[i];
}

const bytesText = (n) => scaled(n, ['B', 'kB', 'MB', 'GB', 'TB']);
const rateText = (bytes) => scaled(bytes * 8, ['b/s', 'kb/s', 'Mb/s', 'Gb/s']);

function ageText(ms) {
	const s = Math.floor(ms / 1000);
	if (s < 60)
		return s + ' s';
	if (s < 3600)
		return Math.floor(s / 60) + ' min';
	return s < 86400 ? Math.floor(s / 3600) + ' h' : Math.floor(s / 86400) + ' d';
}

// ---- elements ----

function make(name, className, text) {
	const element = document.createElement(name);
	if (className)
		element.className = className;
	if (text !== undefined)
		element.textContent = text;
	return element;
}

// textContent, unless it is that already: what did not change keeps its selection.
function put(element, text) {
	if (element.textContent !== text)
		element.textContent = text;
}

function announce(text) {
	put($('announce'), text);
}

function setState(text, kind) {
	put($('state'), text);
	$('state').className = 'state ' + kind;
}

function banner(text) {
	$('banner').hidden = !text;
	put($('banner'), text || '');
}

// ---- the API ----

class Problem extends Error {
	constructor(status, text, doc) {
		super(text);
		this.status = status;
		this.doc = doc;
	}
}

function end(text) {
	page.ended = true;
	page.session = null;
	sessionStorage.removeItem('session');
	setState('Ended', 'bad');
	banner(text);
	later();
}

async function ask(method, path, body, tag) {
	const headers = {Authorization: 'Bearer ' + page.session};
	let answer;

	if (page.ended)
		throw new Problem(0, 'the page has ended');
	if (body !== undefined)
		headers['Content-Type'] = 'application/json';
	if (tag)
		headers['If-Match'] = tag;
	try {
		answer = await fetch(path, {method, headers, cache: 'no-store', redirect: 'error',
			body: body === undefined ? undefined : JSON.stringify(body)});
		page.misses = 0;
	} catch {
		// Nobody listens on a port of this very host.
		if (++page.misses >= MISSES_MAX && !page.ended)
			end('netctl dashboard has ended, and this page with it. Run it again for a new link.');
		throw new Problem(0, 'netctl dashboard does not answer');
	}
	if (answer.status === 403 && !answer.headers.get('Content-Type')) {
		end('netctl dashboard does not know this page. Run it again for a new link.');
		throw new Problem(403, 'this page has ended');
	}
	if (!answer.ok) {
		const doc = await answer.json().catch(() => ({}));
		const text = doc.detail || 'HTTP status ' + answer.status;
		throw new Problem(answer.status, doc.field ? text + ' (' + doc.field + ')' : text, doc);
	}
	return answer;
}

const get = async (path) => (await ask('GET', path)).json();
const ofVM = (name, what) => '/v1/vms/' + encodeURIComponent(name) + what;

// The link in the address becomes a session, which this tab keeps.
async function begin() {
	const link = new URLSearchParams(location.search).get('link');

	if (link) {
		history.replaceState(null, '', '/');
		const answer = await fetch('/session', {method: 'POST', body: link});
		if (!answer.ok)
			return false;
		sessionStorage.setItem('session', (await answer.json()).session);
	}
	page.session = sessionStorage.getItem('session');
	return page.session !== null;
}

// ---- drawing, once a frame at most ----

let drawing = false;

function later() {
	if (drawing)
		return;
	drawing = true;
	requestAnimationFrame(() => {
		drawing = false;
		drawVMs();
		drawTraffic();
		drawRefusals();
		drawFlows();
	});
}

// ---- VMs ----

function vmMade(name) {
	const li = make('li'), button = make('button', 'vm');
	const vm = {name, doc: {}, at: 0, down: 0, up: 0, sum: null, flows: 0, refused: 0,
		downs: Array(SAMPLES).fill(0), ups: Array(SAMPLES).fill(0), li, button, parts: {}};

	button.type = 'button';
	button.append(vm.parts.name = make('span', 'name', name),
		vm.parts.state = make('span', 'dot'),
		vm.parts.sub = make('span', 'sub'),
		vm.parts.spark = document.createElementNS('http://www.w3.org/2000/svg', 'svg'),
		vm.parts.rates = make('span', 'rates'));
	vm.parts.spark.setAttribute('viewBox', '0 0 120 100');
	vm.parts.spark.setAttribute('preserveAspectRatio', 'none');
	vm.parts.spark.setAttribute('aria-hidden', 'true');
	vm.parts.line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
	vm.parts.line.setAttribute('class', 'line down');
	vm.parts.spark.append(vm.parts.line);
	vm.parts.rates.append(vm.parts.down = make('span'), vm.parts.up = make('span'),
		vm.parts.flows = make('span'), vm.parts.refused = make('span', 'refused'));
	button.addEventListener('click', () => select(page.selected === name ? null : name));
	li.append(button);
	return vm;
}

async function readVMs() {
	const items = (await get('/v1/vms')).items;
	const names = new Set(items.map((item) => item.name));

	for (const item of items) {
		if (!page.vms.has(item.name))
			page.vms.set(item.name, vmMade(item.name));
		page.vms.get(item.name).doc = item;
	}
	for (const name of page.vms.keys())
		if (!names.has(name))
			page.vms.delete(name);
	if (page.selected && !names.has(page.selected))
		select(null);
	later();
}

function select(name) {
	page.selected = name;
	page.flows = page.flows.filter((flow) => !name || flow.vm === name);
	later();
	readFlows().catch(() => {});
}

function drawVMs() {
	const list = $('vms'), vms = [...page.vms.values()];

	put($('vms-count'), String(vms.length));
	vms.sort((a, b) => a.name < b.name ? -1 : 1);
	for (const [i, vm] of vms.entries()) {
		const {doc, parts} = vm, state = doc.state || '';

		if (list.children[i] !== vm.li)
			list.insertBefore(vm.li, list.children[i] || null);
		vm.button.setAttribute('aria-pressed', String(page.selected === vm.name));
		put(parts.state, state);
		parts.state.className = 'dot ' + state;
		put(parts.sub, [doc.net && doc.net.guest, doc.link && doc.link.kind,
			doc.error && clean(doc.error)].filter(Boolean).join(' · '));
		put(parts.down, '↓ ' + rateText(vm.down));
		put(parts.up, '↑ ' + rateText(vm.up));
		put(parts.flows, vm.flows + (vm.flows === 1 ? ' flow' : ' flows'));
		put(parts.refused, vm.refused ? vm.refused + ' refused' : '');
		const sum = vm.downs.map((down, n) => down + vm.ups[n]);
		parts.line.setAttribute('d', linePath(sum, Math.max(...sum, 1)));
	}
	while (list.children.length > vms.length)
		list.lastElementChild.remove();
}

// ---- throughput ----

async function readStats(vm) {
	const {counters, flows} = await get(ofVM(vm.name, '/stats'));
	const of = (name) => counters[name] || 0;
	const now = performance.now(), seconds = (now - vm.at) / 1000;
	const sum = {up: of('link.rx.bytes') + of('vsock.rx.bytes'),
		down: of('link.tx.bytes') + of('vsock.tx.bytes')};

	if (vm.sum && seconds > 0.1) {
		// A worker that died begins at zero again.
		vm.up = Math.max(0, sum.up - vm.sum.up) / seconds;
		vm.down = Math.max(0, sum.down - vm.sum.down) / seconds;
	}
	vm.sum = sum;
	vm.at = now;
	vm.flows = flows.tcp + flows.udp + flows.icmp + flows.vsock;
}

async function readAllStats() {
	const vms = [...page.vms.values()], asked = new Set();

	if (page.selected && page.vms.has(page.selected))
		asked.add(page.vms.get(page.selected));
	for (let i = 0; i < Math.min(VMS_A_SECOND, vms.length); i++)
		asked.add(vms[page.turn++ % vms.length]);
	await Promise.all([...asked].map((vm) => readStats(vm).catch((problem) => {
		if (problem.status === 404)
			page.vms.delete(vm.name);
		else
			vm.up = vm.down = 0;
	})));
	for (const vm of vms) {
		vm.downs.push(vm.down);
		vm.downs.shift();
		vm.ups.push(vm.up);
		vm.ups.shift();
	}
}

function linePath(values, top) {
	return values.map((value, i) => (i ? 'L' : 'M') + (i * 120 / (SAMPLES - 1)).toFixed(2) + ' ' +
		(100 - 99 * Math.min(1, value / top)).toFixed(2)).join('');
}

// The next of 1, 2 and 5 times a power of ten, in bits.
function niceTop(bytes) {
	const bits = Math.max(bytes * 8, 10000), power = 10 ** Math.floor(Math.log10(bits));

	return [1, 2, 5, 10].find((n) => n * power >= bits) * power / 8;
}

function drawTraffic() {
	const vms = page.selected ? [page.vms.get(page.selected)].filter(Boolean)
		: [...page.vms.values()];
	const total = (key, n) => vms.reduce((sum, vm) => sum + vm[key][n], 0);
	const downs = Array.from({length: SAMPLES}, (_, n) => total('downs', n));
	const ups = Array.from({length: SAMPLES}, (_, n) => total('ups', n));
	const top = niceTop(Math.max(...downs, ...ups));
	const down = rateText(downs[SAMPLES - 1]), up = rateText(ups[SAMPLES - 1]);

	for (const [name, values] of [['down', downs], ['up', ups]]) {
		const line = linePath(values, top);
		$('line-' + name).setAttribute('d', line);
		$('area-' + name).setAttribute('d', line + 'L120 100L0 100Z');
	}
	put($('traffic-of'), page.selected || (vms.length ? 'all VMs' : ''));
	put($('scale-full'), rateText(top));
	put($('scale-half'), rateText(top / 2));
	put($('rate-down'), down);
	put($('rate-up'), up);
	$('chart').setAttribute('aria-label', 'Of the last two minutes; now ' + down + ' to ' +
		(page.selected || 'guests') + ', ' + up + ' from there');
}

// ---- refusals ----

// A name that a rule can have and that means one host in it: a guest may ask for "*.com" or "10.0.0.0".
function isHostName(name) {
	return typeof name === 'string' && name.length <= 253 &&
		/^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i.test(name) &&
		/[a-z]/i.test(name.replace(/\.$/, '').split('.').pop());
}

// A name that our DNS did not answer, to the resolver that was asked.
const isQuery = (row) => row.port === 53 && isHostName(row.name);

// The rule that would admit it, or null where none would. After a query nobody knows yet what the guest
// would do with the answer: it gets the commonest, and what else it tries is a refusal with its port.
function ruleOf(row) {
	if (row.to === 'others' || row.by === 'host_access' || isQuic(row))
		return null;
	if (isQuery(row))
		return {action: 'allow', to: [row.name], ports: ['443'], proto: 'tcp'};
	const rule = {action: 'allow', to: [isHostName(row.name) ? row.name : row.to]};
	if (row.proto !== 'icmp')
		rule.ports = [String(row.port)];
	rule.proto = row.proto;
	return rule;
}

// Rules by name never admit it.
const isQuic = (row) => row.proto === 'udp' && row.port === 443 && isHostName(row.name);

function ruleText(rule) {
	return rule.to[0] + (rule.ports ? ', ' + rule.proto + ' port ' + rule.ports[0] : ', ' + rule.proto);
}

function whyText(row) {
	switch (row.by) {
	case undefined:
		return 'more than could be told apart';
	case 'rule':
		return 'by rule ' + row.rule;
	case 'preset':
		return 'by the preset';
	case 'host_access':
		return 'the VM has no access to this host (host_access)';
	default:
		return 'by default';
	}
}

function refused(event) {
	const data = event.data || {}, vm = page.vms.get(event.vm), time = Date.parse(event.time);
	const key = JSON.stringify(isQuery(data) ? [event.vm, 'query', data.name]
		: [event.vm, data.proto, data.to, data.port, data.name]);
	let row = page.refusals.get(key);

	if (vm)
		vm.refused += data.count || 1;
	if (!row) {
		row = {key, vm: event.vm, proto: data.proto, to: data.to, port: data.port,
			name: data.name || null, count: 0, state: 'open', error: '', allowed: 0, li: null};
		page.refusals.set(key, row);
		announce('Refused: ' + clean(row.vm) + ' to ' + clean(row.name || row.to));
	}
	row.by = data.by;
	row.rule = data.rule;
	row.count += data.count || 1;
	row.time = time;
	if (row.state === 'allowed' && Date.now() > row.allowed + LATE_MS) {
		row.state = 'failed';
		row.error = 'Refused again since it was allowed: another rule, or what the guest sends, is in the way.';
	}
	if (page.refusals.size > REFUSALS_MAX) {
		const oldest = [...page.refusals.values()].reduce((a, b) => a.time <= b.time ? a : b);
		page.refusals.delete(oldest.key);
	}
	later();
}

// Others may change the policy between our reading and writing it: then once more. One of all gets
// through each time.
async function tryEdit(vm, change) {
	for (let tries = 1; ; tries++) {
		const answer = await ask('GET', ofVM(vm, '/policy'));
		const policy = await answer.json(), rules = change(policy.rules || []);

		if (!rules)
			return;
		try {
			await ask('PUT', ofVM(vm, '/policy'), {...policy, rules}, answer.headers.get('ETag'));
			return;
		} catch (problem) {
			if (problem.status !== 412 || tries >= EDIT_TRIES)
				throw problem;
		}
	}
}

// One change of a VM's policy after the other: each reads what it changes.
function edit(vm, change) {
	const before = page.editing.get(vm) || Promise.resolve();
	const done = before.catch(() => {}).then(() => tryEdit(vm, change));
	page.editing.set(vm, done);
	return done;
}

const isSame = (a, b) => a.action === b.action && a.proto === b.proto && a.verify === b.verify &&
	JSON.stringify(a.to) === JSON.stringify(b.to) && JSON.stringify(a.ports) === JSON.stringify(b.ports);

async function allow(row) {
	const rule = ruleOf(row);

	row.state = 'asking';
	later();
	try {
		await edit(row.vm, (rules) => rules.length && isSame(rules[0], rule) ? null : [rule, ...rules]);
		row.state = 'allowed';
		row.allowed = Date.now();
		announce('Allowed: ' + ruleText(rule));
	} catch (problem) {
		row.state = 'failed';
		row.error = 'Not allowed: ' + problem.message;
	}
	later();
}

async function undo(row) {
	const rule = ruleOf(row);

	row.state = 'asking';
	later();
	try {
		await edit(row.vm, (rules) => {
			const at = rules.findIndex((other) => isSame(other, rule));
			return at < 0 ? null : rules.toSpliced(at, 1);
		});
		row.state = 'open';
		announce('Not allowed any more: ' + ruleText(rule));
	} catch (problem) {
		row.state = 'failed';
		row.error = 'Still allowed: ' + problem.message;
	}
	later();
}

function rowMade(row) {
	const li = make('li'), to = make('div', 'to'), rule = ruleOf(row);
	const act = make('div', 'act'), button = make('button', 'allow');

	to.append(make('span', 'vmname', clean(row.vm) + ' → '));
	if (row.to === 'others') {
		to.append(make('b', '', 'other destinations'));
	} else if (isQuery(row)) {
		to.append(make('b', '', clean(row.name)));
	} else {
		const port = row.proto === 'icmp' ? '' : (row.to.includes(':') ? ' port ' : ':') + row.port;
		to.append(make('b', '', clean(row.name || row.to) + port),
			row.name ? ' ' + clean(row.to) : '');
	}
	button.type = 'button';
	if (rule)
		act.append(button);
	button.addEventListener('click', () => {
		if (row.state === 'open' || row.state === 'failed')
			allow(row);
		else if (row.state === 'allowed')
			undo(row);
	});
	row.parts = {why: make('div', 'why'), said: make('div', 'said'), button};
	row.parts.said.setAttribute('role', 'status');
	li.append(to, row.parts.why, act, row.parts.said);
	li.dataset.key = row.key;
	return li;
}

function drawRow(row) {
	const {why, said, button} = row.parts, rule = ruleOf(row);
	const count = row.count === 1 ? '' : ' · ' + row.count + ' times';
	const proto = isQuery(row) ? 'DNS query · ' : row.proto ? row.proto + ' · ' : '';

	put(why, proto + whyText(row) + count + ' · ' + new Date(row.time).toLocaleTimeString() +
		(isQuic(row) ? ' · HTTP/3, which rules by name never admit: clients fall back to TCP' : ''));
	row.li.className = row.state;
	button.setAttribute('aria-disabled', String(row.state === 'asking' || page.ended));
	if (rule && row.state !== 'asking') {
		const allowed = row.state === 'allowed';
		button.className = allowed ? 'undo' : 'allow';
		put(button, allowed ? 'Undo' : 'Allow ' + ruleText(rule));
		button.setAttribute('aria-label', allowed ? 'Take back: allow ' + ruleText(rule)
			: 'Allow ' + clean(row.vm) + ' to reach ' + ruleText(rule));
	}
	said.className = row.state === 'failed' ? 'said bad' : 'said';
	put(said, row.state === 'allowed' ? 'Allowed: ' + ruleText(rule) + ' is the first rule of ' +
		clean(row.vm) + '’s policy now.' : row.state === 'failed' ? clean(row.error) : '');
}

// Newest first, but nothing moves under a pointer or around the focus.
function drawRefusals() {
	const list = $('refusals-list');
	const held = list.matches(':hover') || list.contains(document.activeElement);
	const rows = [...page.refusals.values()].filter((row) => !page.selected || row.vm === page.selected);
	const wanted = new Set(rows);

	rows.sort((a, b) => b.time - a.time);
	for (const row of rows) {
		row.li ||= rowMade(row);
		drawRow(row);
	}
	for (const li of [...list.children])
		if (!wanted.has(page.refusals.get(li.dataset.key)))
			li.remove();
	for (const [i, row] of rows.entries()) {
		if (held && !row.li.isConnected)
			list.append(row.li);
		else if (!held && list.children[i] !== row.li)
			list.insertBefore(row.li, list.children[i] || null);
	}
	put($('refusals-count'), rows.length ? String(rows.length) : '');
	$('refusals-none').hidden = rows.length > 0;
}

// ---- flows ----

const COLUMNS = [
	{key: 'vm', title: 'VM'},
	{key: 'proto', title: 'Protocol'},
	{key: 'guest', title: 'Guest', mono: true},
	{key: 'dir', title: 'Way', text: (f) => f.dir === 'in' ? '← in' : '→ out'},
	{key: 'remote', title: 'Remote', mono: true},
	{key: 'state', title: 'State'},
	{key: 'age_ms', title: 'Age', number: true, text: (f) => ageText(f.age_ms)},
	{key: 'tx_bytes', title: 'Sent', number: true, text: (f) => bytesText(f.tx_bytes)},
	{key: 'rx_bytes', title: 'Received', number: true, text: (f) => bytesText(f.rx_bytes)},
	{key: 'rate', title: 'Rate', number: true, text: (f) => rateText(f.rate)},
];

const flowText = (flow, column) => column.text ? column.text(flow) : clean(flow[column.key]);

async function readFlows() {
	const names = page.selected ? [page.selected]
		: [...page.vms.values()].filter((vm) => vm.flows).slice(0, FLOWS_VMS_MAX).map((vm) => vm.name);
	const key = (f) => [f.vm, f.proto, f.guest, f.remote].join(' ');
	const before = new Map(page.flows.map((flow) => [key(flow), flow]));
	const now = performance.now();
	const lists = await Promise.all(names.map(async (name) => {
		const items = (await get(ofVM(name, '/flows?limit=1000'))).items;
		return items.map((flow) => ({...flow, vm: name, at: now, rate: 0}));
	}));

	page.flows = lists.flat();
	for (const flow of page.flows) {
		const old = before.get(key(flow));
		const moved = old ? flow.tx_bytes + flow.rx_bytes - old.tx_bytes - old.rx_bytes : 0;
		if (moved > 0)
			flow.rate = moved / ((now - old.at) / 1000);
	}
	later();
}

function makeFlowsHead() {
	for (const column of COLUMNS) {
		const th = make('th', column.number ? 'number' : ''), button = make('button', '', column.title);
		th.scope = 'col';
		button.type = 'button';
		button.addEventListener('click', () => {
			const again = page.sort.key === column.key;
			page.sort = {key: column.key, down: again ? !page.sort.down : Boolean(column.number)};
			later();
		});
		th.append(button);
		column.th = th;
		$('flows-head').append(th);
	}
}

function drawFlows() {
	const wanted = $('filter').value.trim().toLowerCase(), {key, down} = page.sort;
	let flows = page.flows;

	if (wanted)
		flows = flows.filter((flow) => COLUMNS.some(
			(column) => flowText(flow, column).toLowerCase().includes(wanted)));
	flows = [...flows].sort((a, b) => {
		const order = a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0;
		return down ? -order : order;
	});
	for (const column of COLUMNS) {
		if (column.key === key)
			column.th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
		else
			column.th.removeAttribute('aria-sort');
	}
	put($('flows-count'), flows.length ? String(flows.length) : '');
	$('flows-none').hidden = flows.length > 0;
	$('flows-scroll').hidden = flows.length === 0;
	$('flows-body').replaceChildren(...flows.slice(0, FLOWS_SHOWN).map((flow) => {
		const tr = make('tr');
		for (const column of COLUMNS)
			tr.append(make('td', column.number ? 'number' : column.mono ? 'mono' : '',
				flowText(flow, column)));
		return tr;
	}));
}

// ---- what happens ----

function take(event) {
	page.since = event.id;
	if (event.type === 'flow.refused')
		refused(event);
	else if (/^(vm|link|vsock|worker)\./.test(event.type))
		page.stale = true;
}

async function follow() {
	const from = page.since ? 'since=' + page.since : 'last=1000';
	const answer = await ask('GET', '/v1/events?follow=1&' + from);
	const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';

	for (;;) {
		const {value, done} = await reader.read();
		if (done || rest.length > LINE_MAX)
			return;
		const lines = (rest + value).split('\n');
		rest = lines.pop();
		for (const line of lines)
			if (line)
				take(JSON.parse(line));
	}
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function followForEver() {
	while (!page.ended) {
		try {
			await follow();
		} catch (problem) {
			// Older events are gone: what is left is shown.
			if (problem.status === 410)
				page.since = Math.max(0, (problem.doc.oldest || 1) - 1);
		}
		page.stale = true;
		await sleep(500);
	}
}

async function watch() {
	for (let n = 0; !page.ended; n++) {
		try {
			if (page.stale || n % 10 === 0) {
				page.stale = false;
				await readVMs();
			}
			if (!document.hidden || n % 10 === 0)
				await readAllStats();
			if (!document.hidden && n % 2 === 0)
				await readFlows();
			setState('Live', 'good');
			banner('');
		} catch (problem) {
			page.stale = true;
			if (!page.ended) {
				setState('No answer', 'bad');
				banner(clean(problem.message) + '. It is asked again each second.');
			}
		}
		later();
		await sleep(1000);
	}
}

async function main() {
	makeFlowsHead();
	$('filter').addEventListener('input', later);
	$('refusals-list').addEventListener('pointerleave', later);
	$('refusals-list').addEventListener('focusout', later);
	document.addEventListener('keydown', (event) => {
		if (event.key === '/' && document.activeElement !== $('filter')) {
			event.preventDefault();
			$('filter').focus();
		}
	});
	if (!await begin().catch(() => false)) {
		end('This page lives in the tab where its link was opened, once. ' +
			'Run netctl dashboard again for a new link.');
		return;
	}
	get('/v1/version').then((doc) => put($('version'), doc.version), () => {});
	await readVMs().catch(() => {});
	followForEver();
	watch();
}

main();
