"""The words of vendors' refusals as data, one table per meaning.

A sign is an exact code or a documented wording. Codes win over wordings, because a wording may repeat what a user
wrote; so a sign of a key only ever raises a suspicion, which a probe of ours checks.
Vendors behind relays use each other's words, hence all tables hold for all OpenAI-compatible servers.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Meaning = Literal[
    "too_long", "parameter", "other_kind", "money", "dead_key", "moderation", "region", "no_model", "rate"
]

OPENAI = "https://platform.openai.com/docs/guides/error-codes"
ANTHROPIC = "https://docs.anthropic.com/en/api/errors"
GEMINI = "https://ai.google.dev/gemini-api/docs/troubleshooting"
AZURE = "https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter"
DEEPSEEK = "https://api-docs.deepseek.com/quick_start/error_codes"
MOONSHOT = "https://platform.moonshot.cn/docs/api/chat"
DASHSCOPE = "https://help.aliyun.com/zh/model-studio/error-code"
OPENROUTER = "https://openrouter.ai/docs/api-reference/errors"
ARK = "https://www.volcengine.com/docs/82379/1299023"
SILICONFLOW = "https://docs.siliconflow.cn/cn/faqs/error-code"
MINIMAX = "https://platform.minimaxi.com/document/error-codes"
STEPFUN = "https://platform.stepfun.com/docs/api-reference/error-codes"
XAI = "https://docs.x.ai/docs/key-information/debugging"
GROQ = "https://console.groq.com/docs/errors"
ZHIPU = "https://docs.bigmodel.cn/cn/api/api-code"
CLOUDFLARE = "https://developers.cloudflare.com/workers-ai/platform/errors/"
CLOUDFLARE_GUARDRAILS = "https://developers.cloudflare.com/ai-gateway/guardrails/set-up-guardrail/"
QIANFAN = "https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlmyncueh"
PORTKEY = "https://portkey.ai/docs/product/guardrails"
ONE_API = "https://github.com/songquanpeng/one-api"
NEW_API = "https://github.com/QuantumNous/new-api"
VLLM = "https://github.com/vllm-project/vllm"
LLAMA_CPP = "https://github.com/ggml-org/llama.cpp/tree/master/tools/server"
TGI = "https://github.com/huggingface/text-generation-inference"
OLLAMA = "https://github.com/ollama/ollama"
SGLANG = "https://github.com/sgl-project/sglang"
LITELLM = "https://docs.litellm.ai/docs/completion/drop_params"
SPARK = "https://www.xfyun.cn/doc/spark/"


class Sign(NamedTuple):
    """One row of a table.

    `field`: `code` is any machine-readable word of the refusal (code, type, status or reason), which `pattern` equals;
    `message` is its text, which contains the parts of `pattern` in order, `…` between them. Case does not matter.
    `{}` stands for the name of a parameter; `param` is that name where the wording does not contain it.
    """

    vendor: str
    field: Literal["code", "message"]
    pattern: str
    source: str
    param: str = ""


TOO_LONG = (
    Sign("OpenAI", "code", "context_length_exceeded", OPENAI),
    Sign("OpenAI", "code", "string_above_max_length", OPENAI),
    Sign("GitHub", "code", "model_max_prompt_tokens_exceeded", "https://docs.github.com/en/github-models"),
    Sign("llama.cpp", "code", "exceed_context_size_error", LLAMA_CPP),
    Sign("OpenAI, Groq", "message", "request too large", OPENAI),
    Sign("OpenAI, vLLM, DeepSeek, Mistral", "message", "maximum context length", VLLM),
    Sign("vLLM", "message", "is longer than the maximum model length", VLLM),
    Sign("Groq", "message", "please reduce the length of the messages", GROQ),
    Sign("Anthropic, Fireworks", "message", "prompt is too long", ANTHROPIC),
    Sign("Anthropic", "message", "input length … exceed context limit", ANTHROPIC),
    Sign("Anthropic", "message", "extra usage is required for long context", ANTHROPIC),
    Sign("Bedrock", "message", "input is too long", "https://docs.aws.amazon.com/bedrock/latest/userguide/"),
    Sign("Gemini", "message", "exceeds the maximum number of tokens", GEMINI),
    Sign("Moonshot", "message", "exceeded model token limit", MOONSHOT),
    Sign("xAI", "message", "maximum prompt length is", XAI),
    Sign("SiliconFlow", "message", "must be less than max_seq_len", SILICONFLOW),
    Sign("DashScope", "message", "range of input length should be", DASHSCOPE),
    Sign("Ark", "message", "exceed max message tokens", ARK),
    Sign("Text Generation Inference", "message", "`inputs` … must have less than", TGI),
    Sign("Text Generation Inference", "message", "`inputs` tokens + `max_new_tokens` must be <=", TGI),
    Sign("Copilot", "message", "prompt token count of … exceeds the limit of", "https://docs.github.com/en/copilot"),
    Sign("AI Studio", "message", "cannot truncate to … required", "https://github.com/iBUHub/AIStudioToAPI/issues/268"),
    Sign("Zhipu", "message", "prompt 超长", ZHIPU),
    Sign("OpenAI, Cloudflare, llama-cpp-python", "message", "exceed … context window", OPENAI),
    Sign("Ollama", "message", "exceed … context length", OLLAMA),
    Sign("llama.cpp", "message", "exceed … context size", LLAMA_CPP),
    Sign("Anthropic", "message", "exceed … context limit", ANTHROPIC),
    Sign("MiniMax", "message", "context window exceed", MINIMAX),
    Sign("relays", "message", "context length exceed", NEW_API),
    Sign("SGLang", "message", "longer than … context", SGLANG),
    Sign("LM Studio", "message", "greater than … context", "https://lmstudio.ai/docs"),
    Sign("LM Studio", "message", "when context the overflows", "https://lmstudio.ai/docs"),
    Sign("llama.cpp", "message", "larger than … context", LLAMA_CPP),
    Sign("OpenAI", "message", "exceed the configured limit of … tokens", OPENAI),
    Sign("relays", "message", "the configured context size is", NEW_API),
    Sign("relays", "message", "context length is … you requested", NEW_API),
    Sign("relays", "message", "input tokens … exceeds the maximum allowed", NEW_API),
    Sign("relays", "message", "input length … exceeds the maximum length", NEW_API),
    Sign("relays", "message", "exceeds token limit", NEW_API),
    Sign("Baidu", "message", "max input characters is", QIANFAN),
    Sign("Baidu", "message", "prompt tokens too long", QIANFAN),
    Sign("Perplexity", "message", "input too long", "https://docs.perplexity.ai"),
    Sign("Cohere", "message", "too many tokens:", "https://docs.cohere.com/reference/errors"),
    Sign("Zhipu", "message", "prompt exceeds max length", ZHIPU),
    Sign("relays", "message", "输入内容过长", NEW_API),
    Sign("relays", "message", "最大长度限制", NEW_API),
    Sign("relays", "message", "输入长度超", NEW_API),
    Sign("relays", "message", "上下文长度", NEW_API),
    Sign("relays", "message", "超过最大长度", NEW_API),
    Sign("relays", "message", "超出最大长度", NEW_API),
)
PARAMETERS = (
    Sign("OpenAI", "code", "unsupported_parameter", OPENAI),
    Sign("OpenAI", "code", "unsupported_value", OPENAI),
    Sign("OpenAI", "code", "unknown_parameter", OPENAI),
    Sign("Mistral, FastAPI", "code", "extra_forbidden", "https://docs.pydantic.dev/latest/errors/validation_errors/"),
    Sign("OpenRouter", "message", "no endpoints found that support tool use", OPENROUTER, "tools"),
    Sign("OpenRouter", "message", "no endpoints found that support image input", OPENROUTER, "messages"),
    Sign("OpenRouter", "message", "no endpoints found that support the provided '{}' value", OPENROUTER),
    Sign("Ollama", "message", "does not support tools", OLLAMA, "tools"),
    Sign("vLLM", "message", "tool choice requires --enable-auto-tool-choice", VLLM, "tools"),
    Sign("DeepSeek", "message", "does not support function calling", DEEPSEEK, "tools"),
    Sign("Gemini", "message", "function calling is not enabled", GEMINI, "tools"),
    Sign("DashScope", "message", "the tool call is not supported", DASHSCOPE, "tools"),
    Sign("OpenAI", "message", "image_url is only supported by certain models", OPENAI, "messages"),
    Sign("DeepSeek", "message", "unknown variant `image_url`", DEEPSEEK, "messages"),
    Sign("Gemini", "message", "image input modality is not enabled", GEMINI, "messages"),
    Sign("vLLM", "message", "is not a multimodal model", VLLM, "messages"),
    Sign("Ollama", "message", "does not support image", OLLAMA, "messages"),
    Sign("relays", "message", "不支持图片", NEW_API, "messages"),
    Sign("relays", "message", "不支持工具调用", NEW_API, "tools"),
    Sign("OpenAI", "message", "unsupported parameter: '{}'", OPENAI),
    Sign("OpenAI", "message", "unsupported value: '{}'", OPENAI),
    Sign("OpenAI", "message", "unknown parameter: '{}'", OPENAI),
    Sign("OpenAI", "message", "unrecognized request argument supplied: {}", OPENAI),
    Sign("Moonshot", "message", "invalid {}: only", MOONSHOT),
    Sign("xAI", "message", "does not support parameter {}", XAI),
    Sign("Groq", "message", "property '{}' is unsupported", GROQ),
    Sign("Groq", "message", "`{}` is not supported with this model", GROQ),
    Sign("Gemini", "message", 'unknown name "{}"', GEMINI),
    Sign("Fireworks", "message", "extra inputs are not permitted, field: '{}'", "https://docs.fireworks.ai"),
    Sign("vLLM", "message", "'extra_forbidden', 'loc': ('body', '{}'", VLLM),
    Sign("NVIDIA", "message", "body -> {}\n  extra inputs are not permitted", "https://docs.nvidia.com/nim/"),
    Sign("Zhipu", "message", "{} 参数非法", ZHIPU),
    Sign("Zhipu", "message", "always engages in thinking and cannot be disabled", ZHIPU, "thinking"),
    Sign("Zhipu", "message", "tool choice must be auto", ZHIPU, "tool_choice"),
    Sign("Anthropic", "message", "`{}` is deprecated for this model", ANTHROPIC),
    Sign("Anthropic", "message", "`{}` may only be set to", ANTHROPIC),
    Sign("Anthropic", "message", "`{}` and `top_p` cannot both be specified", ANTHROPIC),
    Sign("LiteLLM", "message", "does not support parameters: {'{}'", LITELLM),
    Sign("LiteLLM", "message", "does not support parameters: ['{}'", LITELLM),
    Sign("relays", "message", "parameter {} is not supported", NEW_API),
)
# The request asks a model for something of another kind: an embeddings model for a completion, or the other way round.
OTHER_KINDS = (
    Sign("OpenAI", "message", "this is not a chat model", OPENAI),
    Sign("OpenAI", "message", "not allowed to sample from this model", OPENAI),
    Sign("OpenAI", "message", "not allowed to generate embeddings from this model", OPENAI),
    Sign("OpenAI", "message", "not supported in the v1/chat/completions endpoint", OPENAI),
    Sign("OpenAI", "message", "not in v1/chat/completions", OPENAI),
    Sign("Azure", "message", "the chatcompletion operation does not work with the specified model", AZURE),
    Sign("Azure", "message", "the embeddings operation does not work with the specified model", AZURE),
    Sign("OpenRouter", "message", "embedding model and cannot be used with", OPENROUTER),
    Sign("vLLM", "message", "the model does not support chat completions api", VLLM),
    Sign("vLLM", "message", "the model does not support embeddings api", VLLM),
    Sign("Ollama", "message", "does not support chat", OLLAMA),
    Sign("Ollama", "message", "does not support embeddings", OLLAMA),
)
MONEY = (
    Sign("OpenAI", "code", "insufficient_quota", OPENAI),
    Sign("OpenAI", "code", "credit_balance_exhausted", OPENAI),
    Sign("OpenAI", "code", "organization_spend_limit_exceeded", OPENAI),
    Sign("OpenAI", "code", "project_spend_limit_exceeded", OPENAI),
    Sign("OpenAI", "code", "organization_usage_limit_exceeded", OPENAI),
    Sign("OpenAI", "code", "billing_hard_limit_reached", OPENAI),
    Sign("OpenAI", "code", "billing_not_active", OPENAI),
    Sign("Moonshot", "code", "exceeded_current_quota_error", MOONSHOT),
    Sign("DashScope", "code", "arrearage", DASHSCOPE),
    Sign("DashScope", "code", "allocationquota.freetieronly", DASHSCOPE),
    Sign("Ark", "code", "accountoverdueerror", ARK),
    Sign("New API", "code", "insufficient_user_quota", NEW_API),
    Sign("New API", "code", "pre_consume_token_quota_failed", NEW_API),
    Sign("OpenRouter", "code", "openrouter_key_limit", OPENROUTER),
    Sign("MiniMax", "code", "base_resp.1008", MINIMAX),
    Sign("SiliconFlow", "message", "account balance is insufficient", SILICONFLOW),
    Sign("Moonshot, relays", "message", "insufficient account balance", MOONSHOT),
    Sign("DashScope", "message", "free tier of the model has been exhausted", DASHSCOPE),
    Sign("OpenRouter", "message", "requires more credits", OPENROUTER),
    Sign("New API", "message", "预扣费额度失败", NEW_API),
    Sign("Anthropic", "message", "credit balance is too low", ANTHROPIC),
    Sign("Anthropic", "message", "reached your specified api usage limits", ANTHROPIC),
    Sign("DeepSeek, MiniMax", "message", "insufficient balance", DEEPSEEK),
    Sign("OpenRouter", "message", "insufficient credits", OPENROUTER),
    Sign("OpenRouter", "message", "key limit exceeded", OPENROUTER),
    Sign("xAI", "message", "used all available credits", XAI),
    Sign("xAI", "message", "run out of credits", XAI),
    Sign(
        "Hugging Face",
        "message",
        "exceeded your monthly included credits",
        "https://huggingface.co/docs/inference-providers",
    ),
    Sign("Together", "message", "credit limit exceeded", "https://docs.together.ai/docs/error-codes"),
    Sign("OpenAI", "message", "exceeded your current quota", OPENAI),
    Sign("Zhipu", "message", "余额不足", ZHIPU),
    Sign("New API", "message", "额度不足", NEW_API),
    Sign("One API", "message", "额度已用尽", ONE_API),
    Sign("DashScope, Ark", "message", "欠费", DASHSCOPE),
)
DEAD_KEYS = (
    Sign("OpenAI", "code", "invalid_api_key", OPENAI),
    Sign("OpenAI", "code", "account_deactivated", OPENAI),
    Sign("OpenAI, Anthropic", "code", "authentication_error", ANTHROPIC),
    Sign("Moonshot", "code", "invalid_authentication_error", MOONSHOT),
    Sign("Gemini", "code", "api_key_invalid", GEMINI),
    Sign("DashScope", "code", "invalidapikey", DASHSCOPE),
    Sign("Ark", "code", "authenticationerror", ARK),
    Sign("MiniMax", "code", "base_resp.1004", MINIMAX),
    Sign("MiniMax", "code", "base_resp.2049", MINIMAX),
    Sign("Gemini", "message", "api key not valid", GEMINI),
    Sign("Gemini", "message", "api key … expired", GEMINI),
    Sign("Gemini", "message", "pass a valid api key", GEMINI),
    Sign("Gemini", "message", "api key was reported as leaked", GEMINI),
    Sign("Gemini", "message", "consumer … has been suspended", GEMINI),
    Sign("DeepSeek", "message", "authentication fails", DEEPSEEK),
    Sign("DashScope", "message", "invalid api-key provided", DASHSCOPE),
    Sign("OpenAI, xAI", "message", "incorrect api key provided", XAI),
    Sign("Groq, Mistral", "message", "invalid api key", GROQ),
    Sign("New API", "message", "token invalid", NEW_API),
    Sign("Cloudflare", "message", "authentication error", CLOUDFLARE),
    Sign("Spark", "message", "appidnoautherror", SPARK),
    Sign("OpenAI", "message", "account … has been deactivated", OPENAI),
    Sign("OpenAI", "message", "account has been flagged", OPENAI),
    Sign("Anthropic", "message", "this organization has been disabled", ANTHROPIC),
    Sign("relays", "message", "api key … has been disabled", NEW_API),
    Sign("relays", "message", "api key … has been revoked", NEW_API),
    Sign("Moonshot, SiliconFlow", "message", "your account … is suspended", MOONSHOT),
    Sign("One API", "message", "无效的令牌", ONE_API),
    Sign("One API", "message", "该令牌已过期", ONE_API),
    Sign("One API", "message", "该令牌状态不可用", ONE_API),
    Sign("relays", "message", "无效的 api key", NEW_API),
)
MODERATION = (
    Sign("OpenAI, Azure, Moonshot", "code", "content_filter", AZURE),
    Sign("OpenAI", "code", "content_policy_violation", OPENAI),
    Sign("OpenAI", "code", "moderation_blocked", OPENAI),
    Sign("Azure", "code", "responsibleaipolicyviolation", AZURE),
    Sign("DashScope", "code", "data_inspection_failed", DASHSCOPE),
    Sign("DashScope", "code", "datainspectionfailed", DASHSCOPE),
    Sign("Ark", "code", "inputtextsensitivecontentdetected", ARK),
    Sign("Ark", "code", "inputimagesensitivecontentdetected", ARK),
    Sign("Ark", "code", "outputtextsensitivecontentdetected", ARK),
    Sign("Ark", "code", "sensitivecontentdetected", ARK),
    Sign("Gemini", "code", "prohibited_content", GEMINI),
    Sign("Gemini", "message", "prohibited content", GEMINI),
    Sign("OpenAI", "message", "flagged for possible", OPENAI),
    Sign("MiniMax", "message", "new_sensitive", MINIMAX),
    Sign("relays", "message", "sensitive content", NEW_API),
    Sign("relays", "message", "敏感信息", NEW_API),
    Sign("relays", "message", "敏感内容", NEW_API),
    Sign("New API", "code", "sensitive_words_detected", NEW_API),
    Sign("New API", "code", "prompt_blocked", NEW_API),
    Sign("StepFun", "code", "censorship_blocked", STEPFUN),
    Sign("Portkey", "code", "hooks_failed", PORTKEY),
    Sign("MiniMax", "code", "base_resp.1026", MINIMAX),
    Sign("MiniMax", "code", "base_resp.1027", MINIMAX),
    Sign("xAI", "message", "violates usage guidelines", XAI),
    Sign("OpenRouter", "message", "input was flagged", OPENROUTER),
    Sign("OpenAI", "message", "flagged as potentially violating", OPENAI),
    Sign("OpenAI", "message", "rejected by the safety system", OPENAI),
    Sign("OpenAI", "message", "rejected as a result of our safety system", OPENAI),
    Sign("Azure", "message", "content management policy", AZURE),
    Sign("DeepSeek", "message", "content exists risk", DEEPSEEK),
    Sign("Moonshot", "message", "considered high risk", MOONSHOT),
    Sign("DashScope", "message", "may contain inappropriate content", DASHSCOPE),
    Sign("Ark", "message", "may contain sensitive information", ARK),
    Sign("Anthropic", "message", "blocked by content filtering policy", ANTHROPIC),
    Sign(
        "LiteLLM", "message", "violated guardrail policy", "https://docs.litellm.ai/docs/proxy/guardrails/quick_start"
    ),
    Sign("Bedrock", "message", "guardrail … rejected", "https://docs.aws.amazon.com/bedrock/latest/userguide/"),
    Sign("Bedrock", "message", "blocked by … guardrail", "https://docs.aws.amazon.com/bedrock/latest/userguide/"),
    Sign("Cloudflare", "message", "blocked due to security configurations", CLOUDFLARE_GUARDRAILS),
    Sign("relays", "message", "敏感词", NEW_API),
    Sign("relays", "message", "内容审核", NEW_API),
    Sign("relays", "message", "内容安全", NEW_API),
    Sign("relays", "message", "内容违规", NEW_API),
    Sign("relays", "message", "违规内容", NEW_API),
    Sign("relays", "message", "不当内容", NEW_API),
)
# Our network address is refused.
REGIONS = (
    Sign("OpenAI", "code", "unsupported_country_region_territory", OPENAI),
    Sign("OpenAI", "message", "country, region, or territory not supported", OPENAI),
    Sign("Gemini", "message", "user location is not supported", GEMINI),
)
# The route names a model that the vendor or this key does not have.
NO_MODELS = (
    Sign("OpenAI, Zhipu", "code", "model_not_found", OPENAI),
    Sign("Mistral", "code", "invalid_model", "https://docs.mistral.ai/api/"),
    Sign("DashScope", "code", "model.accessdenied", DASHSCOPE),
    Sign("OpenAI, Groq, vLLM", "message", "the model … does not exist", OPENAI),
    Sign("DeepSeek, DashScope", "message", "model not exist", DEEPSEEK),
    Sign("SiliconFlow", "message", "model does not exist", SILICONFLOW),
    Sign("OpenRouter", "message", "is not a valid model id", OPENROUTER),
    Sign("Gemini", "message", "is not found for api version", GEMINI),
    Sign("Ollama", "message", "not found, try pulling it first", OLLAMA),
    Sign("Moonshot", "message", "not found the model", MOONSHOT),
    Sign("LiteLLM", "message", "invalid model name passed in", LITELLM),
    Sign("relays", "message", "无可用渠道", NEW_API),
)
# Wordings of these are enough only where the vendor says itself that it is a limit: HTTP status 402 or 429, or none.
RATES = (
    Sign("Azure", "code", "ratelimitreached", AZURE),
    Sign("Gemini", "code", "resource_exhausted", GEMINI),
    Sign("Moonshot", "code", "rate_limit_reached_error", MOONSHOT),
    Sign("DashScope", "code", "throttling", DASHSCOPE),
    Sign("DashScope", "code", "throttling.ratequota", DASHSCOPE),
    Sign("DashScope", "code", "throttling.allocationquota", DASHSCOPE),
    Sign("DashScope", "code", "limit_requests", DASHSCOPE),
    Sign("DashScope", "code", "limit_burst_rate", DASHSCOPE),
    Sign("Ark", "code", "ratelimitexceeded.endpointrpmexceeded", ARK),
    Sign("Ark", "code", "ratelimitexceeded.endpointtpmexceeded", ARK),
    Sign("OpenRouter", "code", "openrouter_in_flight_budget", OPENROUTER),
    Sign("MiniMax", "code", "base_resp.1002", MINIMAX),
    Sign("MiniMax", "code", "base_resp.1039", MINIMAX),
    Sign("MiniMax", "code", "base_resp.1041", MINIMAX),
    Sign("OpenAI, Groq", "message", "rate limit reached", OPENAI),
    Sign("OpenAI", "message", "rate limit exceeded", OPENAI),
    Sign("Azure", "message", "exceeded … rate limit", AZURE),
    Sign("OpenRouter", "message", "in-flight spending budget", OPENROUTER),
    Sign("relays", "message", "too many requests", NEW_API),
    Sign("relays", "message", "请求过于频繁", NEW_API),
    Sign("relays", "message", "请求频率", NEW_API),
    Sign("Zhipu", "message", "速率限制", ZHIPU),
    Sign("Zhipu", "message", "并发数过高", ZHIPU),
)
# In this order wordings are tried, the more specific meaning first.
TABLES: Mapping[Meaning, tuple[Sign, ...]] = {
    "too_long": TOO_LONG,
    "parameter": PARAMETERS,
    "other_kind": OTHER_KINDS,
    "money": MONEY,
    "dead_key": DEAD_KEYS,
    "moderation": MODERATION,
    "region": REGIONS,
    "no_model": NO_MODELS,
    "rate": RATES,
}
# Words that mean moderation only where the status or the code says that the request is denied for its content.
MODERATING_WORDS = ("moderat", "flagged", "safety", "content policy", "usage polic", "guardrail", "guideline", "敏感")
# Words of a code or a message that is about a parameter's value, so that another name of the parameter does not help.
VALUE_WORDS = ("unsupported_value", "unsupported value", "may only be set to", "invalid max_", "参数非法")
# Words on the pages and in the texts of web application firewalls.
FIREWALL_WORDS = (
    *("web application firewall", "request blocked", "blocked by waf", "attention required! | cloudflare"),
    *("incapsula incident", "blocked as it may cause potential threats", "errors.edgesuite.net", "mod_security"),
    *("the requested url was rejected", "website firewall", "您的访问被阻断", "云防护"),
)
