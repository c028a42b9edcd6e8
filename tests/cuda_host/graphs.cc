// Captures and graphs. An instantiated graph runs its nodes in an order that
// obeys the recorded dependencies and nothing else, youngest first, so that a
// missing dependency shows.
#include "core.h"

#include <algorithm>
#include <set>
#include <thread>

namespace host {

namespace {

uint64_t thread_number() {
  static std::atomic<uint64_t> next{1};
  thread_local uint64_t number = next++;
  return number;
}

// What the thread wants of captures elsewhere: see
// cudaThreadExchangeStreamCaptureMode.
thread_local int thread_mode = 0;

std::vector<std::shared_ptr<Capture>> &captures() {
  static auto *v = new std::vector<std::shared_ptr<Capture>>;
  return *v;
}

std::set<Node *> &known_nodes() {
  static auto *s = new std::set<Node *>;
  return *s;
}

void let_go(Graph *graph) {
  if (--graph->users > 0) return;
  for (void *p : graph->owned) release_captured(p);
  for (auto &node : graph->nodes) known_nodes().erase(node.get());
  delete graph;
}

// Everything that the nodes come after, themselves included.
std::set<Node *> ancestors(std::vector<Node *> nodes) {
  std::set<Node *> seen;
  while (!nodes.empty()) {
    Node *node = nodes.back();
    nodes.pop_back();
    if (!seen.insert(node).second) continue;
    nodes.insert(nodes.end(), node->after.begin(), node->after.end());
  }
  return seen;
}

Node *graph_add(Graph *graph, NodeType type, Work work,
                std::vector<Node *> after) {
  graph->nodes.emplace_back(new Node{graph, type, std::move(work), after, {}});
  Node *node = graph->nodes.back().get();
  known_nodes().insert(node);
  return node;
}

} // namespace

bool node_live(void *handle) {
  std::lock_guard lock(core_mutex);
  if (known_nodes().count(static_cast<Node *>(handle))) return true;
  violation("graph node %p is in no graph", handle);
  return false;
}

void capture_add(Stream *stream, Work work) {
  Capture &capture = *capture_of(stream);
  if (capture.invalid) return;
  auto &tails = capture.tails[stream];
  NodeType type = work.launch ? KERNEL : work.type;
  tails = {graph_add(capture.graph, type, std::move(work), tails)};
}

int capture_begin(Stream *stream, int mode) {
  std::lock_guard lock(core_mutex);
  if (stream_is_legacy(stream)) return CAPTURE_UNSUPPORTED;
  auto &own = capture_of(stream);
  if (own) return own->invalid ? CAPTURE_INVALIDATED : ILLEGAL_STATE;
  static uint64_t next = 1;
  own = std::make_shared<Capture>();
  own->id = next++;
  own->graph = new Graph;
  own->mode = mode;
  own->origin = stream;
  own->thread = thread_number();
  own->tails[stream];
  captures().push_back(own);
  return OK;
}

int capture_end(Stream *stream, Graph **out) {
  std::lock_guard lock(core_mutex);
  *out = nullptr;
  auto capture = capture_of(stream);
  if (!capture) return ILLEGAL_STATE;
  if (capture->origin != stream) return CAPTURE_UNMATCHED;
  if (capture->mode != 2 && capture->thread != thread_number())
    return CAPTURE_WRONG_THREAD;
  int status = capture->invalid ? CAPTURE_INVALIDATED : OK;
  auto joined = ancestors(capture->tails[stream]);
  for (auto &[other, tails] : capture->tails)
    for (Node *tail : tails)
      if (status == OK && joined.count(tail) == 0) status = CAPTURE_UNJOINED;
  for (auto &entry : capture->tails) capture_of(entry.first).reset();
  auto &all = captures();
  all.erase(std::find(all.begin(), all.end(), capture));
  Graph *graph = capture->graph;
  capture->graph = nullptr;
  if (status != OK) {
    let_go(graph);
    return status;
  }
  handle_made("graph", graph);
  *out = graph;
  return OK;
}

int exchange_capture_mode(int mode) {
  std::swap(mode, thread_mode);
  return mode;
}

int capture_refuses_unsafe() {
  std::lock_guard lock(core_mutex);
  if (thread_mode == 2) return OK;
  for (auto &capture : captures()) {
    bool mine = capture->thread == thread_number();
    bool global = capture->mode == 0 && thread_mode == 0;
    if (global || (capture->mode != 2 && mine)) {
      capture->invalid = CAPTURE_INVALIDATED;
      return CAPTURE_UNSUPPORTED;
    }
  }
  return OK;
}

int capture_invalidate(Stream *stream, int status) {
  if (auto capture = capture_of(stream)) capture->invalid = status;
  return status;
}

int graph_instantiate(Graph *graph, GraphExec **out) {
  std::lock_guard lock(core_mutex);
  auto *exec = new GraphExec{current_device(), graph, {}, {}, nullptr};
  graph->users++;
  std::map<Node *, int> missing;
  std::map<Node *, std::vector<Node *>> next;
  std::vector<Node *> ready;
  for (auto &node : graph->nodes) {
    exec->works[node.get()] = node->work;
    missing[node.get()] = int(node->after.size());
    for (Node *before : node->after) next[before].push_back(node.get());
    if (node->after.empty()) ready.push_back(node.get());
  }
  while (!ready.empty()) {
    Node *node = ready.back();
    ready.pop_back();
    exec->order.push_back(node);
    for (Node *following : next[node])
      if (--missing[following] == 0) ready.push_back(following);
  }
  if (exec->order.size() != graph->nodes.size()) {
    graph->users--;
    delete exec;
    return INVALID_VALUE;
  }
  handle_made("executable graph", exec);
  *out = exec;
  return OK;
}

// The new graph must have the same nodes with the same dependencies.
int graph_update(GraphExec *exec, Graph *graph, Node **culprit) {
  std::lock_guard lock(core_mutex);
  auto &old = exec->graph->nodes;
  auto &fresh = graph->nodes;
  *culprit = nullptr;
  if (old.size() != fresh.size()) return GRAPH_UPDATE_FAILURE;
  std::map<Node *, Node *> twin;
  for (size_t i = 0; i < old.size(); i++) twin[old[i].get()] = fresh[i].get();
  for (size_t i = 0; i < old.size(); i++) {
    *culprit = fresh[i].get();
    std::vector<Node *> after;
    for (Node *before : old[i]->after) after.push_back(twin[before]);
    if (old[i]->type != fresh[i]->type || after != fresh[i]->after)
      return GRAPH_UPDATE_FAILURE;
  }
  for (size_t i = 0; i < old.size(); i++)
    exec->works[old[i].get()] = fresh[i]->work;
  *culprit = nullptr;
  return OK;
}

int graph_exec_set(GraphExec *exec, Node *node,
                   std::shared_ptr<const Launch> launch) {
  std::lock_guard lock(core_mutex);
  auto found = exec->works.find(node);
  if (found == exec->works.end() || !found->second.launch) return INVALID_VALUE;
  found->second.launch = std::move(launch);
  return OK;
}

void **node_params(Node *node) {
  const Launch &launch = *node->work.launch;
  node->params.clear();
  for (size_t offset : launch.offsets)
    node->params.push_back(const_cast<char *>(launch.params.data()) + offset);
  node->params.push_back(nullptr);
  return node->params.data();
}

int graph_launch(GraphExec *exec, Stream *stream) {
  std::lock_guard lock(core_mutex);
  int device = stream_ordinal(stream);
  std::vector<Work> works;
  for (Node *node : exec->order) {
    Work &work = exec->works[node];
    if (work.launch) check_arguments(*work.launch, device);
    works.push_back(work);
  }
  auto before = exec->latest, own = std::make_shared<Mark>();
  exec->latest = own;
  submit(stream, {"graph",
                  [works = std::move(works), device, before, own] {
                    if (before) before->wait();
                    for (auto &work : works) {
                      if (device_lost(device)) break;
                      if (work.launch)
                        launch_run(*work.launch, device);
                      else if (work.run)
                        guarded(device, work.what, work.run);
                    }
                    own->set();
                  },
                  nullptr, true});
  return OK;
}

void graph_free(Graph *graph) {
  std::lock_guard lock(core_mutex);
  handle_gone("graph", graph);
  let_go(graph);
}

void graph_exec_free(GraphExec *exec) {
  std::lock_guard lock(core_mutex);
  handle_gone("executable graph", exec);
  let_go(exec->graph);
  delete exec;
}

} // namespace host
