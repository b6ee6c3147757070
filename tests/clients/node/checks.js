// What each JavaScript client must be able to do through escache; python/checks.py says which settings and lines there are.
// The client that is found is the one that is tried: @elastic/elasticsearch 7, 8 or 9, or @opensearch-project/opensearch.
'use strict'
const assert = require('node:assert/strict')

const { CLIENT_URL: url, CLIENT_DIRECT: direct, CLIENT_TAP: tap, CLIENT_ENGINE: engine } = process.env
const opensearch = engine.startsWith('opensearch')
const name = opensearch ? '@opensearch-project/opensearch' : '@elastic/elasticsearch'
const { Client, errors } = require(name)
const version = packageVersion()
const major = Number(version.split('.')[0])
// 8 and 9 take a request's members beside its parameters, and return the body alone unless told
const modern = !opensearch && major >= 8
const index = `clients-js-${opensearch ? 'os' : 'es'}${major}`
const count = 250

class Skip extends Error {}

function packageVersion () {
  const { readFileSync } = require('node:fs')
  const { join } = require('node:path')
  const folder = process.env.NODE_PATH.split(':').map(path => join(path, name, 'package.json'))
  return JSON.parse(readFileSync(folder[0])).version
}

const connect = (options = {}, node = url) => new Client({ node, ...options })
// An answer with its status and headers, whatever the client's design.
const call = (method, parameters, options = {}) => modern ? method(parameters, { meta: true, ...options }) : method(parameters, options)
const request = (parameters, body) => modern ? { ...parameters, ...body } : { ...parameters, body }
const search = (client, body, options) => call(client.search.bind(client), request({ index }, body), options)
const total = answer => answer.body.hits.total.value

async function arrived (part) {
  return (await fetch(`${tap}/requests?path=${encodeURIComponent(part)}`)).json()
}

async function fail (path, status, times) {
  await fetch(`${tap}/fail`, { method: 'POST', body: JSON.stringify({ path, status, times }) })
}

// Repeats a search until it is a hit, since an index may still be settling.
async function untilHit (client, body, options) {
  let answer
  for (let tries = 1; tries <= 10; tries++) {
    answer = await search(client, body, options)
    if (answer.headers['x-cache'] === 'HIT') return { answer, tries }
  }
  throw new Error(`no HIT in 10 tries: ${answer.headers['cache-status']}`)
}

const documents = (first, many) => Array.from({ length: many }, (_, i) => ({ n: first + i, title: `document ${first + i}` }))
const put = (client, id, document) => call(client.index.bind(client), modern ? { index, id, document, refresh: true } : { index, id, body: document, refresh: true })
const remove = (client, id) => call(client.delete.bind(client), { index, id, refresh: true })

async function raised (promise, status, type) {
  const error = await promise.then(() => assert.fail('nothing raised'), error => error)
  assert.ok(error instanceof errors.ResponseError, `${error.name}: ${error.message}`)
  assert.equal(error.statusCode, status)
  if (type) assert.equal(error.body.error.type, type)
}

const checks = {
  async product (client) {
    if (engine === 'elasticsearch-8') {
      const health = await call(client.cluster.health.bind(client.cluster), {})
      assert.equal(health.body.number_of_nodes, 1)
      return 'by X-Elastic-Product; the engine that is tried has no GET /'
    }
    const { body } = await call(client.info.bind(client), {})
    assert.ok(body.version.number.startsWith(engine.at(-1) + '.'), body.version.number)
    return `engine ${body.version.number}`
  },

  async bulk (client) {
    const indices = client.indices
    await call(indices.delete.bind(indices), { index, ignore_unavailable: true })
    const mappings = { properties: { n: { type: 'integer' }, title: { type: 'text' } } }
    const settings = { number_of_shards: 1, number_of_replicas: 0 }
    await call(indices.create.bind(indices), request({ index }, { settings, mappings }))
    const onDocument = document => ({ index: { _index: index, _id: String(document.n) } })
    const done = await client.helpers.bulk({ datasource: documents(0, count), onDocument, flushBytes: 5000, refreshOnCompletion: index })
    assert.deepEqual([done.total, done.successful, done.failed], [count, count, 0])
    const dropped = []
    const bad = await client.helpers.bulk({
      datasource: [{ n: 'no number' }], onDocument: () => ({ index: { _index: index, _id: 'bad' } }), onDrop: d => dropped.push(d.status)
    })
    assert.deepEqual([bad.failed, dropped], [1, [400]])
    const counted = await call(client.count.bind(client), { index })
    assert.equal(counted.body.count, count)
    return `${count} documents`
  },

  async cache (client) {
    const body = { query: { match: { title: 'document' } }, size: 3, sort: [{ n: 'asc' }] }
    const first = await search(client, body)
    assert.equal(first.headers['x-cache'], 'MISS')
    assert.equal(total(first), count)
    const again = await untilHit(client, body)
    assert.deepEqual(again.answer.body, first.body)
    await put(client, 'late', { n: -1, title: 'late document' })
    const after = await search(client, body)
    assert.deepEqual([after.headers['x-cache'], total(after), after.body.hits.hits[0]._id], ['MISS', count + 1, 'late'])
    assert.equal(total((await untilHit(client, body)).answer), count + 1)
    // behind escache's back
    await remove(connect({}, direct), 'late')
    assert.equal(total(await search(client, body)), count)
    return `HIT at try ${again.tries + 1}`
  },

  async compat (client) {
    if (opensearch || major < 8) throw new Skip('this client sends no compatibility headers unless told')
    const body = { query: { term: { n: 11 } } }
    const missed = await search(client, body)
    const kept = (await untilHit(client, body)).answer
    const sent = (await arrived(`${index}/_search`)).at(-1).headers
    for (const header of ['accept', 'content-type']) assert.ok(sent[header].includes(`compatible-with=${major}`), sent[header])
    const fromEngine = (await search(connect({}, direct), body)).headers['content-type']
    assert.deepEqual([missed.headers['content-type'], kept.headers['content-type']], [fromEngine, fromEngine])
    return fromEngine
  },

  async gzip (client) {
    const zipped = connect(modern ? { compression: true } : { compression: 'gzip', suggestCompression: true })
    await call(zipped.index.bind(zipped), modern
      ? { index, id: 'zipped', document: { n: 5000, title: 'zipped' }, refresh: true }
      : { index, id: 'zipped', body: { n: 5000, title: 'zipped' }, refresh: true })
    assert.equal((await arrived('zipped')).at(-1).headers['content-encoding'], 'gzip')
    const body = { query: { match_all: {} }, size: 100, sort: [{ n: 'desc' }] }
    const plain = await search(client, body)
    const verdicts = []
    while (verdicts.length < 10 && !verdicts.includes('HIT')) {
      const answer = await search(zipped, body)
      assert.deepEqual(answer.body.hits, plain.body.hits)
      assert.equal(answer.headers['content-encoding'], 'gzip')
      verdicts.push(answer.headers['x-cache'])
    }
    assert.equal(verdicts.at(-1), 'HIT')
    assert.equal(plain.body.hits.hits[0]._id, 'zipped')
    await remove(client, 'zipped')
    return `compressed search: ${verdicts.join(', ')}`
  },

  async scroll (client) {
    const found = new Set()
    let pages = 0
    for await (const page of client.helpers.scrollSearch(request({ index, size: 60 }, { query: { match_all: {} } }))) {
      pages++
      page.documents.forEach(document => found.add(document.n))
    }
    assert.equal(found.size, count)
    assert.ok(pages >= 5, `${pages} pages`)
    return `${found.size} documents in pages of 60`
  },

  async pit (client) {
    const open = opensearch ? client.createPit : client.openPointInTime
    const opened = (await call(open.bind(client), { index, keep_alive: '1m' })).body
    const id = opened.pit_id ?? opened.id
    await put(client, 'later', { n: 1000000, title: 'later' })
    const found = []
    let after
    for (;;) {
      const body = { pit: { id, keep_alive: '1m' }, size: 100, sort: [{ n: 'asc' }], ...(after && { search_after: after }) }
      const { hits } = (await call(client.search.bind(client), request({}, body))).body.hits
      if (hits.length === 0) break
      found.push(...hits.map(hit => hit._source.n))
      after = hits.at(-1).sort
    }
    if (opensearch) await client.deletePit({ body: { pit_id: [id] } })
    else await call(client.closePointInTime.bind(client), request({}, { id }))
    await remove(client, 'later')
    assert.deepEqual(found, documents(0, count).map(document => document.n))
    return `${found.length} documents, a later write unseen`
  },

  async msearch (client) {
    const one = { query: { range: { n: { lt: 10 } } }, size: 0 }
    const lines = [{ index }, one, {}, { ...one, size: 1 }, { index }, { sort: ['no_such_field'] }, { index: 'clients-none' }, one]
    const ask = async () => (await call(client.msearch.bind(client), modern ? { index, searches: lines } : { index, body: lines })).body.responses
    for (let i = 0; i < 3; i++) {
      const found = await ask()
      assert.deepEqual(found.map(item => item.status), [200, 200, 400, 404])
      assert.deepEqual(found.slice(0, 2).map(item => item.hits.total.value), [10, 10])
      assert.equal(found[3].error.type, 'index_not_found_exception')
    }
    await put(client, 'more', { n: 5, title: 'more' })
    assert.equal((await ask())[0].hits.total.value, 11)
    await remove(client, 'more')
    // the helper puts searches that are asked at one time into one request
    const helper = client.helpers.msearch({ operations: 10 })
    const found = await Promise.all([1, 2, 3].map(n => helper.search({ index }, { query: { range: { n: { lt: n } } } })))
    helper.stop()
    assert.deepEqual(found.map(item => item.body.hits.total.value), [1, 2, 3])
    return '4 items, 2 of them errors; the helper'
  },

  async errors (client) {
    await raised(call(client.get.bind(client), { index, id: 'none' }), 404)
    for (let i = 0; i < 2; i++) {
      await raised(call(client.search.bind(client), { index: 'clients-none' }), 404, 'index_not_found_exception')
      await raised(search(client, { query: { no_such_query: {} } }), 400, 'parsing_exception')
    }
    const document = { n: 1 }
    await raised(call(client.create.bind(client), modern ? { index, id: '1', document } : { index, id: '1', body: document }), 409, 'version_conflict_engine_exception')
    return '404, 400, 409 with their types'
  },

  async retries (client) {
    const body = { query: { term: { n: 77 } } }
    const before = (await arrived(`${index}/_search`)).length
    await fail(`${index}/_search`, 503, 2)
    const answer = await search(connect({ maxRetries: 3 }), body)
    assert.deepEqual([total(answer), answer.headers['x-cache']], [1, 'MISS'])
    assert.equal((await arrived(`${index}/_search`)).length - before, 3)
    await fail(`${index}/_search`, 503, 1)
    await raised(search(connect({ maxRetries: 0 }), { query: { term: { n: 78 } } }), 503)
    assert.equal(total(await search(client, { query: { term: { n: 78 } } })), 1)
    return 'answered at the third try'
  },

  async 'opaque-id' (client) {
    const body = { query: { term: { n: 33 } } }
    const missed = await search(client, body, { opaqueId: 'first-one' })
    assert.deepEqual([missed.headers['x-cache'], missed.headers['x-opaque-id']], ['MISS', 'first-one'])
    assert.equal((await arrived(`${index}/_search`)).at(-1).headers['x-opaque-id'], 'first-one')
    await untilHit(client, body)
    const { answer } = await untilHit(client, body, { opaqueId: 'second-one' })
    assert.equal(answer.headers['x-opaque-id'], 'second-one')
    return 'echoed on MISS and HIT, each its own'
  }
}

async function main () {
  console.log(`version ${version}`)
  const client = connect()
  for (const [check, run] of Object.entries(checks)) {
    try {
      console.log(`ok ${check} - ${await run(client)}`)
    } catch (error) {
      if (error instanceof Skip) {
        console.log(`skip ${check} - ${error.message}`)
      } else {
        console.error(error)
        console.log(`not ok ${check} - ${error.name}: ${error.message.replace(/\s+/g, ' ').slice(0, 300)}`)
        process.exitCode = 1
      }
    }
  }
  // connections that are kept alive would keep the process
  process.exit()
}

main()
