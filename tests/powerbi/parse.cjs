// What Microsoft's parser says of M expressions. Standard input: a JSON list of texts; standard output: a JSON list of
// {error: {message, line, column}} or {free, calls, parameters}, one for each text. NODE_MODULES: where the parser is.
const path = require("node:path");
const { DefaultSettings, TaskUtils } = require(path.join(process.env.NODE_MODULES, "@microsoft/powerquery-parser"));

const place = (position, column) => ({ line: position.lineNumber + 1, column: (column ?? position.lineCodeUnit) + 1 });
const bound = (scope, names) => new Set([...scope, ...names]);
const pairs = (list) => list.elements.map((csv) => csv.node);

// The lexer's and the parser's errors each say in a place of their own where they are.
function described(error) {
  const { message } = error;
  const inner = error.innerError ?? {};
  const token = inner.foundToken ?? inner.openTokenFound;
  if (token) return { message, ...place(token.token.positionStart, token.columnNumber) };
  const lines = inner.errorLineMap ? [...inner.errorLineMap] : [];
  if (lines.length) return { ...described(lines[0][1].error), line: lines[0][0] + 1 };
  const at = inner.graphemePosition;
  return { message, ...(at ? place(at, at.columnNumber) : { line: null, column: null }) };
}

// Names that nothing in the expression defines, and how many arguments each named function is given.
function namesIn(ast) {
  const free = [];
  const calls = [];
  const use = (node, name, scope) => scope.has(name) || free.push({ name, ...place(node.tokenRange.positionStart) });

  function walk(node, scope) {
    const each = (values, inner = scope) => values.forEach((value) => value && value.kind && walk(value, inner));
    const children = () => Object.entries(node).flatMap(([key, value]) => (key === "tokenRange" ? [] : value));
    switch (node.kind) {
      case "LetExpression": {
        const inner = bound(scope, pairs(node.variableList).map((pair) => pair.key.literal));
        return each([...pairs(node.variableList).map((pair) => pair.value), node.expression], inner);
      }
      case "RecordExpression": {
        const inner = bound(scope, pairs(node.content).map((pair) => pair.key.literal));
        return each(pairs(node.content).map((pair) => pair.value), inner);
      }
      case "FunctionExpression":
        return walk(node.expression, bound(scope, pairs(node.parameters.content).map((one) => one.name.literal)));
      case "EachExpression":
        return walk(node.paired, bound(scope, ["_"]));
      case "IdentifierExpression":
        return use(node, node.identifier.literal, scope);
      case "FieldSelector": // on its own it means _[field]
      case "FieldProjection":
        return use(node, "_", scope);
      case "RecursivePrimaryExpression": {
        const [first, ...others] = node.recursiveExpressions.elements;
        if (node.head.kind === "IdentifierExpression" && first.kind === "InvokeExpression") {
          const name = node.head.identifier.literal;
          const start = place(node.tokenRange.positionStart);
          if (!scope.has(name)) calls.push({ name, count: first.content.elements.length, ...start });
        }
        return each([node.head, ...[first, ...others].filter((one) => !one.kind.startsWith("Field"))]);
      }
      default:
        return each(children());
    }
  }
  walk(ast, new Set());
  return { free, calls };
}

function parametersOf(ast) {
  if (ast.kind !== "FunctionExpression") return null;
  const all = pairs(ast.parameters.content);
  return [all.filter((one) => !one.optionalConstant).length, all.length];
}

async function about(text) {
  const task = await TaskUtils.tryLexParse(DefaultSettings, text);
  if (TaskUtils.isError(task)) return { error: described(task.error) };
  return { ...namesIn(task.ast), parameters: parametersOf(task.ast) };
}

let input = "";
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", async () => {
  process.stdout.write(JSON.stringify(await Promise.all(JSON.parse(input).map(about))));
});
