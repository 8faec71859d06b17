// Agents of two tool turns written with other people's clients for Node, run by test_clients.py.
// Prints {asked: [[name, arguments]], last}: the calls that the agent was given, its last word.
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import { OpenRouter } from "@openrouter/sdk";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

const [kind, url, model, streamed] = process.argv.slice(2);
const key = process.env.KEY;
const stream = streamed === "stream";
const parameters = { type: "object", properties: {}, additionalProperties: true };
const names = ["weather", "look"];
const asked = [];
const resultOf = (name) => (name === "look" ? "here it is" : "rain");

async function openaiChat() {
  const client = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
  const tools = names.map((name) => ({ type: "function", function: { name, parameters } }));
  const messages = [{ role: "user", content: "What is it?" }];
  for (;;) {
    const body = { model, messages, tools };
    const answer = stream
      ? await client.chat.completions.stream(body).finalChatCompletion()
      : await client.chat.completions.create(body);
    const { message } = answer.choices[0];
    if (!message.tool_calls?.length) return message.content;
    messages.push(message);
    for (const call of message.tool_calls) {
      asked.push([call.function.name, call.function.arguments]);
      const content = resultOf(call.function.name);
      messages.push({ role: "tool", tool_call_id: call.id, content });
    }
  }
}

async function openaiResponses() {
  const client = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
  const tools = names.map((name) => ({ type: "function", name, parameters, strict: false }));
  const input = [{ role: "user", content: "What is it?" }];
  for (;;) {
    const body = { model, input, tools };
    const answer = stream
      ? await client.responses.stream(body).finalResponse()
      : await client.responses.create(body);
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (!calls.length) return answer.output_text;
    input.push(...answer.output.map(({ parsed_arguments, ...item }) => item));
    for (const call of calls) {
      asked.push([call.name, call.arguments]);
      const output = resultOf(call.name);
      input.push({ type: "function_call_output", call_id: call.call_id, output });
    }
  }
}

async function anthropic() {
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const tools = names.map((name) => ({ name, input_schema: parameters }));
  const messages = [{ role: "user", content: "What is it?" }];
  for (;;) {
    const body = { model, max_tokens: 500, messages, tools };
    const answer = stream
      ? await client.messages.stream(body).finalMessage()
      : await client.messages.create(body);
    const calls = answer.content.filter((block) => block.type === "tool_use");
    if (!calls.length) return answer.content.map((block) => block.text ?? "").join("");
    messages.push({ role: "assistant", content: answer.content });
    const content = calls.map((call) => {
      asked.push([call.name, JSON.stringify(call.input)]);
      return { type: "tool_result", tool_use_id: call.id, content: resultOf(call.name) };
    });
    messages.push({ role: "user", content });
  }
}

async function google() {
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const functionDeclarations = names.map((name) => ({ name, parametersJsonSchema: parameters }));
  const config = { tools: [{ functionDeclarations }] };
  const contents = [{ role: "user", parts: [{ text: "What is it?" }] }];
  for (;;) {
    const parts = [];
    if (stream) {
      const chunks = await client.models.generateContentStream({ model, contents, config });
      for await (const chunk of chunks) parts.push(...(chunk.candidates[0].content.parts ?? []));
    } else {
      const answer = await client.models.generateContent({ model, contents, config });
      parts.push(...answer.candidates[0].content.parts);
    }
    const calls = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
    if (!calls.length) return parts.map((part) => part.text ?? "").join("");
    contents.push({ role: "model", parts });
    const results = calls.map(({ id, name, args }) => {
      asked.push([name, JSON.stringify(args ?? {})]);
      return { functionResponse: { id, name, response: { result: resultOf(name) } } };
    });
    contents.push({ role: "user", parts: results });
  }
}

async function aiSdk() {
  const provider = createOpenRouter({ baseURL: url + "/api/v1", apiKey: key });
  const tools = Object.fromEntries(
    names.map((name) => [
      name,
      tool({
        description: name,
        inputSchema: jsonSchema(parameters),
        execute: async (input) => {
          asked.push([name, JSON.stringify(input)]);
          return resultOf(name);
        },
      }),
    ]),
  );
  const body = { model: provider(model), prompt: "What is it?", tools, stopWhen: stepCountIs(5) };
  if (!stream) return (await generateText({ ...body, maxRetries: 0 })).text;
  const running = streamText({ ...body, maxRetries: 0 });
  await running.consumeStream();
  return await running.text;
}

async function openRouter() {
  const client = new OpenRouter({ apiKey: key, serverURL: url + "/api/v1" });
  const tools = names.map((name) => ({ type: "function", function: { name, parameters } }));
  const messages = [{ role: "user", content: "What is it?" }];
  for (;;) {
    const chatRequest = { model, messages, tools, stream };
    const answer = await client.chat.send({ chatRequest });
    const message = stream ? await gathered(answer) : answer.choices[0].message;
    if (!message.toolCalls?.length) return message.content;
    messages.push({ role: "assistant", content: message.content, toolCalls: message.toolCalls });
    for (const call of message.toolCalls) {
      asked.push([call.function.name, call.function.arguments]);
      messages.push({
        role: "tool",
        toolCallId: call.id,
        content: resultOf(call.function.name),
      });
    }
  }
}

async function gathered(chunks) {
  const message = { content: "", toolCalls: [] };
  for await (const chunk of chunks) {
    const delta = chunk.choices[0]?.delta ?? {};
    message.content += delta.content ?? "";
    for (const call of delta.toolCalls ?? []) {
      const known = (message.toolCalls[call.index] ??= {
        id: call.id,
        type: "function",
        function: { name: call.function.name, arguments: "" },
      });
      known.function.arguments += call.function?.arguments ?? "";
    }
  }
  return message;
}

const agents = { openaiChat, openaiResponses, anthropic, google, aiSdk, openRouter };
const last = await agents[kind]();
console.log(JSON.stringify({ asked, last }));
