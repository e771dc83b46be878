// Types shared by the modules: event payloads, JSON of our API, and the data that templates write into a page.
// This file holds JSDoc only; `npm run types` checks the modules against it.

/**
 * An opaque id. Conversations and messages have numbers, generations have strings.
 * @typedef {string | number} Id
 */

/**
 * How a generation ended without an error.
 * @typedef {"stop" | "length" | "content_filter" | "cancelled"} FinishReason
 */

/**
 * What a completion cost the user.
 * @typedef {object} Charge
 * @property {number} amount
 * @property {ChargeSource} source
 * @property {string} reason
 */

/** @typedef {"daily" | "credit" | "none"} ChargeSource */

/**
 * @typedef {object} Quota
 * @property {string} slug
 * @property {string} title
 * @property {number | null} daily_limit null: no limit; 0: credits only
 * @property {number} used_today completions of today's allowance, running ones included
 * @property {number} credits
 * @property {number | null} remaining null: no limit
 * @property {string} resets_at ISO 8601 with offset
 */

/**
 * @typedef {object} ChatModel
 * @property {string} slug
 * @property {string} title
 * @property {string} description
 * @property {string} quota slug of the quota that its completions count against
 * @property {string[]} takes what a request may have beside text
 * @property {boolean} [available]
 */

/**
 * @typedef {object} Parameters
 * @property {number} [temperature]
 * @property {number} [max_tokens]
 * @property {"low" | "medium" | "high"} [reasoning_effort]
 */

/**
 * @typedef {object} Preset
 * @property {Id} id
 * @property {string} title
 * @property {string | null} model
 * @property {string} system_prompt
 * @property {Parameters} parameters
 * @property {boolean} shared
 */

/**
 * A file of a prompt, as far as the pages use it.
 * @typedef {{ id: number, kind: "image" | "text", name: string }} Attachment
 */

/**
 * @typedef {object} Conversation
 * @property {Id} id
 * @property {string} title
 * @property {boolean} pinned
 * @property {boolean} archived
 * @property {string} system_prompt
 * @property {string} updated_at ISO 8601 with offset
 * @property {{ message: Id, excerpt: string } | null} [match] the message in which a search found its text
 */

/**
 * One page of a list; `next` is the address of the following page.
 * @template Item
 * @typedef {object} ListPage
 * @property {Item[]} results
 * @property {string | null} next
 */

/**
 * The tokens of a completion. The parts are there only if the upstream reported them.
 * @typedef {object} TokensUsed
 * @property {number} input_tokens
 * @property {number} output_tokens
 * @property {boolean} estimated
 * @property {number} [cached_tokens] part of the input
 * @property {number} [reasoning_tokens] part of the output
 * @property {number} [reasoning_seconds]
 */

/**
 * A page that a completion cites.
 * @typedef {{ url: string, title: string }} Source
 */

/**
 * What the vendor says of an error.
 * @typedef {{ vendor_code?: string, vendor_request_id?: string }} ErrorDetails
 */

/** @typedef {{ code: string, message: string, details?: ErrorDetails }} StoredError */

/**
 * A generation as the API stores it.
 * @typedef {object} StoredGeneration
 * @property {"running" | "completed" | "interrupted" | "failed"} status
 * @property {Id | null} message
 * @property {FinishReason} finish_reason
 * @property {string} [finish_text] why the content filter ended it, where staff wrote that
 * @property {string} content
 * @property {string | null} reasoning
 * @property {Source[]} [sources]
 * @property {Attachment[]} [attachments]
 * @property {TokensUsed | null} usage
 * @property {Charge | null} charge
 * @property {StoredError | null} error
 */

/**
 * The body of `POST /api/chat/` and of the regenerate route, as far as the pages use it.
 * @typedef {object} GenerationRequest
 * @property {string} [model]
 * @property {string} [prompt]
 * @property {Id} [conversation]
 * @property {Id} [parent]
 * @property {string} [system_prompt]
 * @property {Id} [preset]
 * @property {number} [temperature]
 * @property {number} [max_tokens]
 * @property {"low" | "medium" | "high"} [reasoning_effort]
 * @property {boolean} [temporary]
 * @property {number[]} [attachments]
 * @property {string} [text_tool]
 * @property {string} [target_language]
 */

/**
 * Where a generation continues a message: the numbers of characters before its own.
 * @typedef {object} Continued
 * @property {Id} [message]
 * @property {number} content_from
 * @property {number} reasoning_from
 */

/**
 * The server-sent events of a generation: name of the event to its payload.
 * @typedef {object} EventPayloads
 * @property {{ generation: Id, conversation: Id | null, model: string, title: string, continues?: Continued }} start
 * @property {{ content: string }} message
 * @property {{ content: string }} reasoning
 * @property {{ code: string, message: string }} notice
 * @property {{ content: string, reasoning: string | null }} reset
 * @property {{ sources: Source[] }} sources
 * @property {{ attachments: Attachment[] }} attachments
 * @property {{ finish_reason: FinishReason, finish_text?: string, message: Id | null, usage: TokensUsed | null,
 *   charge: Charge | null, quota: Quota | null }} done
 * @property {StoredError & { charge: Charge | null }} error
 */

/** @typedef {{ [Name in keyof EventPayloads]?: (payload: EventPayloads[Name]) => void }} EventHandlers */

/** @typedef {EventHandlers & { connection?: (lost: boolean) => void }} FollowHandlers */

/**
 * A button or a link below an error: `run` is called by a click, `href` is followed.
 * @typedef {{ label: string, run: () => void } | { label: string, href: string }} Action
 */

/**
 * The open branch of a conversation, in the data of the chat page.
 * @typedef {object} BranchData
 * @property {Id | null} conversation null before the first prompt
 * @property {string | null} updated_at when it was used last
 * @property {Id | null} leaf the message that the next prompt follows
 * @property {Id | null} running the generation that is still running
 * @property {string | null} events_url where its events are
 * @property {Id | null} beside the completion that another model made at the same time as that of the leaf
 * @property {boolean} temporary
 */

/**
 * A link to a copy of a conversation; a new one has only the first three.
 * @typedef {object} Share
 * @property {Id} id
 * @property {string} url
 * @property {string | null} expires_at
 * @property {string} [created_at]
 * @property {Id} [conversation]
 */

/**
 * What the pages with a model choice have in their data.
 * @typedef {object} UserData
 * @property {Id} user
 * @property {ChatModel[]} models
 * @property {Quota[]} quotas
 */

/**
 * Prompts that a guest may send on one day, and how many are left.
 * @typedef {{ limit: number, left: number }} GuestAllowance
 */

/** @typedef {UserData & BranchData & { guest: GuestAllowance | null }} ChatPageData */

/**
 * Data of the payment example.
 * @typedef {object} PushDemoData
 * @property {string} order
 * @property {string} events address of the push channel
 * @property {string} pay address that starts the payment
 */

export {};
